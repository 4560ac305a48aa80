"""Compare pictures as a whole, to see where another scene begins. Importing this module does not load torch."""

from __future__ import annotations

import cv2
import numpy as np

from codec.types import CompressedFrame, Float32Array, UInt8Array

LEAST_DIFFERENCE = 12.0
"""Difference, in grey levels, that a cut exceeds."""
_SIZE = (32, 18)
"""Width and height to which pictures are shrunk."""
_KEPT = 32
"""Pictures that are kept to compare with: more than any stream reorders."""


def shrunk(luma: UInt8Array) -> Float32Array:
    """Shrink a picture uint8 [height, width] to what `difference` compares."""
    return np.asarray(cv2.resize(luma, _SIZE, interpolation=cv2.INTER_AREA), np.float32)


def difference(one: Float32Array, other: Float32Array) -> float:
    """Mean absolute difference of two pictures from `shrunk`, in grey levels."""
    return float(np.abs(one - other).mean())


class SceneWatch:
    """Distinguishes a cut from an I frame within a shot: no reference predicts either of them."""

    def __init__(self) -> None:
        self._pictures: dict[int, Float32Array] = {}

    def observe(self, frame: CompressedFrame) -> None:
        """Take the next frame in decode order."""
        self._pictures[frame.index] = shrunk(frame.luma)
        if len(self._pictures) > _KEPT:
            del self._pictures[min(self._pictures)]

    def has_changed(self, index: int) -> bool:
        """Whether the picture with this presentation index differs from the nearest one before that was observed."""
        before = max((other for other in self._pictures if other < index), default=None)
        if before is None or index not in self._pictures:
            return True
        return difference(self._pictures[index], self._pictures[before]) > LEAST_DIFFERENCE
