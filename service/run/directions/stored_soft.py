"""The soft masks of a result in a file, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codec.types import VideoInfo
from vos.types import SoftMask


class StoredSoft:
    """Reads a file that `service.writers.soft` wrote. Close it after use.

    Args:
        path: The file.
        info: Sizes and orientation of the video.
    """

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self._arrays = np.load(path)
        self._info = info
        self._numbers = sorted({int(name.partition("/")[0]) for name in self._arrays.files})

    def masks(self, index: int) -> dict[int, SoftMask]:
        """Return object id -> soft mask of a frame, with one cell per pixel."""
        return {number: self._mask(f"{number}/{index:05d}") for number in self._numbers}

    def close(self) -> None:
        """Close the file."""
        self._arrays.close()

    def _mask(self, name: str) -> SoftMask:
        values = np.ascontiguousarray(self._info.to_coded(self._arrays[name]))
        return SoftMask(values, (self._info.coded_height, self._info.coded_width))
