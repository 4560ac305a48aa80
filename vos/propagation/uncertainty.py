"""Uncertainty of propagated masks, per cell, from hops, intra blocks and residual."""

from __future__ import annotations

import cv2
import numpy as np

from codec.types import STRIDE, CompressedFrame, Float32Array, Int16Array
from vos import kernels

HOP_UNCERTAINTY = 0.02
"""Doubt that one hop adds everywhere: interpolation and the codec's own liberties."""


INTRA_UNCERTAINTY = 0.5
"""Doubt of a cell without any vector."""


RESIDUAL_FLOOR = 8.0
"""Mean absolute residual of a cell, in grey levels, that is plain coding noise."""


RESIDUAL_RANGE = 60.0
"""Grey levels above the floor at which a cell's prediction is worth nothing."""


RESIDUAL_SCALE = 64.0
"""Grey levels of residual that the refiner is told as 1."""


_NEIGHBOURHOOD = 5
"""Cells, in both directions, over which uncertainty is averaged: what happens beside an object endangers its edge."""


def hop_uncertainty(frame: CompressedFrame) -> Float32Array:
    """Doubt that the hop to this frame adds on and beside each cell, float32 [rows, columns], 0 to 1."""
    uncertainty = mean_absolute(frame.residual)
    uncertainty -= RESIDUAL_FLOOR
    uncertainty /= RESIDUAL_RANGE
    np.clip(uncertainty, HOP_UNCERTAINTY, 1, out=uncertainty)
    np.copyto(uncertainty, INTRA_UNCERTAINTY, where=~frame.motion.covered)
    return np.asarray(cv2.blur(uncertainty, (_NEIGHBOURHOOD, _NEIGHBOURHOOD)), np.float32)


def mean_absolute(residual: Int16Array) -> Float32Array:
    """Mean absolute residual a cell: int16 [height, width] -> float32 [rows, columns], grey levels."""
    height, width = residual.shape
    cells = np.empty((-(-height // STRIDE), -(-width // STRIDE)), np.float32)
    kernels.mean_absolute(np.ascontiguousarray(residual), cells)
    return cells


UNCERTAINTY_AFTER_REFINEMENT = 0.5
"""Share of a cell's uncertainty that is left once it was refined."""
