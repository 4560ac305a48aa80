"""Run-length decoding, compared with pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from keymask import rle
from pycocotools import mask as coco


def mask_of(kind: str, height: int, width: int) -> np.ndarray:
    """Return a mask with few runs, with many runs, or with runs that touch the corners."""
    rng = np.random.default_rng(height * 1000 + width)
    if kind == "noise":
        return rng.random((height, width)) > 0.5
    mask = np.zeros((height, width), bool)
    if kind == "full":
        mask[:] = True
    elif kind == "corners":
        mask[0, 0] = mask[-1, -1] = True
    elif kind == "blob":
        y, x = np.ogrid[:height, :width]
        mask = (y - height / 2) ** 2 / (height / 3 + 1) ** 2 + (x - width / 2) ** 2 / (width / 3 + 1) ** 2 < 1
    return mask


@pytest.mark.parametrize("kind", ["empty", "full", "corners", "blob", "noise"])
@pytest.mark.parametrize("size", [(1, 1), (7, 3), (48, 64), (480, 854)])
def test_decoding_undoes_what_pycocotools_encodes(kind: str, size: tuple[int, int]) -> None:
    """Every mask that pycocotools encodes is decoded exactly."""
    mask = mask_of(kind, *size)
    counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    np.testing.assert_array_equal(rle.decode(counts, *size), mask)


@pytest.mark.parametrize("counts", ["", "\x01", "P", "0001", "o" * 40])
def test_a_damaged_encoding_is_an_error(counts: str) -> None:
    """Text that is not an encoding, or one of another size, is an error."""
    with pytest.raises(ValueError, match=r"run-length|run lengths"):
        rle.decode(counts, 48, 64)
