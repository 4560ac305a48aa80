"""Uncertainty of propagated masks, per cell, from hops, intra blocks and residual."""

from __future__ import annotations

import cv2
import numpy as np

from codec.types import STRIDE, CompressedFrame, Float32Array, Int16Array
from vos import kernels

HOP_DOUBT = 0.02
"""Doubt that one hop adds everywhere: interpolation and the codec's own liberties."""


INTRA_DOUBT = 0.5
"""Doubt of a cell without any vector."""


RESIDUAL_FLOOR = 8.0
"""Mean absolute residual of a cell, in grey levels, that is plain coding noise."""


RESIDUAL_RANGE = 60.0
"""Grey levels above the floor at which a cell's prediction is worth nothing."""


RESIDUAL_SCALE = 64.0
"""Grey levels of residual that the refiner is told as 1."""


_NEIGHBOURHOOD = 5
"""Cells, in both directions, over which doubt is averaged: what happens beside an object endangers its edge."""


def local_doubt(frame: CompressedFrame) -> Float32Array:
    """Doubt that the hop to this frame adds on and beside each cell, float32 [rows, columns], 0 to 1."""
    doubt = mean_absolute(frame.residual)
    doubt -= RESIDUAL_FLOOR
    doubt /= RESIDUAL_RANGE
    np.clip(doubt, HOP_DOUBT, 1, out=doubt)
    np.copyto(doubt, INTRA_DOUBT, where=~frame.motion.covered)
    return np.asarray(cv2.blur(doubt, (_NEIGHBOURHOOD, _NEIGHBOURHOOD)), np.float32)


def mean_absolute(residual: Int16Array) -> Float32Array:
    """Mean absolute residual a cell: int16 [height, width] -> float32 [rows, columns], grey levels."""
    height, width = residual.shape
    cells = np.empty((-(-height // STRIDE), -(-width // STRIDE)), np.float32)
    kernels.mean_absolute(np.ascontiguousarray(residual), cells)
    return cells


KEPT_DOUBT = 0.5
"""Share of a cell's doubt that is left once it was repaired."""
