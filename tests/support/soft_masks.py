"""Soft masks for segmenters without a network, and what files with soft masks hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codec.types import UInt8Array, VideoInfo
from vos.types import SoftMask


def soft_of(labels: UInt8Array, object_ids: tuple[int, ...], info: VideoInfo) -> dict[int, SoftMask]:
    """Return a soft mask with a cell per pixel for each object: 200 inside it, 20 outside."""
    coded, extent = info.to_coded(labels), (info.coded_height, info.coded_width)
    return {i: SoftMask(np.where(coded == i, np.uint8(200), np.uint8(20)), extent) for i in object_ids}


def arrays_in(path: Path) -> dict[str, UInt8Array]:
    """Return all arrays of an npz file as NumPy reads them."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_same_arrays(one: dict[str, UInt8Array], other: dict[str, UInt8Array]) -> None:
    """Assert that both files hold the same arrays under the same names."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
