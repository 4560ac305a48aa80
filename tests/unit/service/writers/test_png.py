"""Masks as indexed PNGs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from codec.types import FrameType
from service.writers.png import PngWriter, mask_name
from vos.types import FrameMask, MaskSource


def test_the_pixels_are_indices_and_the_colors_davis(tmp_path: Path) -> None:
    """The file is an 8-bit indexed PNG whose indices are the labels and whose palette colors them as DAVIS does."""
    labels = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)
    frame = FrameMask(7, None, 0.0, FrameType.P, MaskSource.KEY, labels, {})
    writer = PngWriter(tmp_path / "masks")
    writer.write(frame)
    writer.close()
    with Image.open(tmp_path / "masks" / "00007.png") as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture), labels)
    labels[0, 0], other = 1, cv2.imread(str(tmp_path / "masks" / "00007.png"))
    assert other is not None
    for label, blue_green_red in ((1, (0, 0, 128)), (2, (0, 128, 0)), (255, (192, 224, 224))):
        for y, x in np.argwhere(labels == label)[1:4]:
            assert tuple(other[y, x]) == blue_green_red


@pytest.mark.parametrize(("index", "name"), [(0, "00000.png"), (99_999, "99999.png"), (100_000, "100000.png")])
def test_names_have_five_digits_at_least(index: int, name: str) -> None:
    """A mask's name is its frame's presentation index with five digits, or more if needed."""
    assert mask_name(index) == name
