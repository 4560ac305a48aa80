"""Masks in every accepted form as the files that are sent, compared with Pillow and NumPy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from keymask.mask_file import encode, to_file
from PIL import Image

LABELS = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7


def read(png: bytes) -> np.ndarray:
    """Read the palette indices of a PNG with Pillow."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "P"
        return np.array(image)


def test_labels_come_back_as_palette_indices() -> None:
    """Encoded labels are the palette indices of the PNG."""
    np.testing.assert_array_equal(read(encode(LABELS)), LABELS)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint16])
def test_integer_arrays_are_labels(dtype: type) -> None:
    """The values of an array of any integer type are object ids."""
    array = (LABELS > 30).astype(dtype)
    np.testing.assert_array_equal(read(to_file(array)), array.astype(np.uint8))


def test_files_and_bytes_are_sent_unchanged(tmp_path: Path) -> None:
    """A file is not encoded again, whatever it is."""
    for data in (encode(LABELS), b"\xff\xd8 a JPEG"):
        (tmp_path / "mask").write_bytes(data)
        assert to_file(data) == to_file(tmp_path / "mask") == to_file(str(tmp_path / "mask")) == data


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_images_keep_their_mode_and_pixels(mode: str) -> None:
    """The service decides what the pixels mean."""
    pixels = (LABELS > 30) * np.uint8(255)
    image = Image.fromarray(pixels.astype(np.uint16)) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    with Image.open(io.BytesIO(to_file(image))) as sent:
        assert sent.mode == mode
        np.testing.assert_array_equal(np.array(sent), np.array(image))


def test_a_palette_is_sent() -> None:
    """Its colors may decide what the indices mean."""
    image = Image.frombytes("P", (7, 5), LABELS.tobytes())
    image.putpalette([9, 8, 7, 6, 5, 4])
    with Image.open(io.BytesIO(to_file(image))) as sent:
        assert sent.getpalette()[:6] == [9, 8, 7, 6, 5, 4]


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 3, 3), np.uint8), np.full((2, 2), 256), np.full((2, 2), -1), LABELS / 256, torch.full((2, 2), 0.25)],
)
def test_other_arrays_are_sent_as_npy(array: np.ndarray) -> None:
    """The service reads or refuses them."""
    np.testing.assert_array_equal(np.load(io.BytesIO(to_file(array))), np.asarray(array))


@pytest.mark.parametrize("mask", [np.zeros((0, 4), int), np.array([["a"]]), None, object(), [[{}]]])
def test_what_cannot_be_a_mask_is_refused(mask: object) -> None:
    """The error says what was given and what is allowed."""
    with pytest.raises(ValueError, match=r"a mask is a path, bytes, .*; given: \w+, .*\["):
        to_file(mask)
