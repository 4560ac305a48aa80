"""Masks in every accepted form, compared with Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from keymask.png import encode, to_png
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
    np.testing.assert_array_equal(read(to_png(array)), array.astype(np.uint8))


def test_files_and_bytes_are_sent_unchanged(tmp_path: Path) -> None:
    """A PNG is not encoded again."""
    png = encode(LABELS)
    (tmp_path / "mask.png").write_bytes(png)
    assert to_png(png) == to_png(tmp_path / "mask.png") == to_png(str(tmp_path / "mask.png")) == png


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGB", "RGBA"])
def test_pillow_images_are_read_as_the_service_reads_such_files(mode: str) -> None:
    """An indexed image keeps its indices; in all other images, pixels that are not black are object 1."""
    grey = Image.fromarray(LABELS)
    if mode == "P":
        image = Image.frombytes("P", (7, 5), LABELS.tobytes())
        expected = LABELS
    else:
        image = grey.point(lambda value: 255 if value else 0).convert(mode)
        expected = (LABELS != 0).astype(np.uint8)
    np.testing.assert_array_equal(read(to_png(image)), expected)


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 3, 3), np.uint8), np.full((2, 2), 256), np.full((2, 2), -1), np.zeros((0, 4), int), LABELS / 2],
)
def test_an_array_that_is_not_a_mask_is_refused(array: np.ndarray) -> None:
    """The error says what was given and what is allowed."""
    with pytest.raises(ValueError, match=r"object ids 0 to 255; given: .*\["):
        to_png(array)
