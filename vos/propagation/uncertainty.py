"""Uncertainty that one hop of propagation adds to each cell: the hop itself, intra blocks, the residual.

Importing this module loads neither torch nor numba: `vos.probe.forecast` uses it.
"""

from __future__ import annotations

import cv2
import numpy as np

from codec.types import STRIDE, CompressedFrame, Float32Array, Int16Array

HOP_UNCERTAINTY = 0.02
"""Uncertainty that a hop adds everywhere, for interpolation and motion that the encoder did not follow exactly."""
INTRA_UNCERTAINTY = 0.5
"""Uncertainty of a cell without motion vectors."""
RESIDUAL_FLOOR = 8.0
"""Mean absolute residual of a cell, in grey levels, that is only coding noise."""
RESIDUAL_RANGE = 60.0
"""Grey levels above the floor at which the prediction of a cell is worthless."""
RESIDUAL_SCALE = 64.0
"""Grey levels of residual that become 1 in the bitstream features."""
UNCERTAINTY_AFTER_REFINEMENT = 0.5
"""Share of a cell's uncertainty that remains after refinement."""
_NEIGHBOURHOOD = 5
"""Cells in each direction over which uncertainty is averaged, since errors next to an object threaten its edge."""


def hop_uncertainty(frame: CompressedFrame) -> Float32Array:
    """Uncertainty that the hop to this frame adds in and around each cell, float32 [rows, columns], 0 to 1."""
    uncertainty = mean_absolute(frame.residual)
    uncertainty -= RESIDUAL_FLOOR
    uncertainty /= RESIDUAL_RANGE
    np.clip(uncertainty, HOP_UNCERTAINTY, 1, out=uncertainty)
    np.copyto(uncertainty, INTRA_UNCERTAINTY, where=~frame.motion.covered)
    return np.asarray(cv2.blur(uncertainty, (_NEIGHBOURHOOD, _NEIGHBOURHOOD)), np.float32)


def mean_absolute(residual: Int16Array) -> Float32Array:
    """Mean absolute residual per cell: int16 [height, width] -> float32 [rows, columns], in grey levels."""
    from vos import kernels  # noqa: PLC0415 - imports numba, which opening a video does not need

    height, width = residual.shape
    cells = np.empty((-(-height // STRIDE), -(-width // STRIDE)), np.float32)
    kernels.mean_absolute(np.ascontiguousarray(residual), cells)
    return cells
