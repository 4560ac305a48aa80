"""Means over cells and masks."""

from __future__ import annotations

import numpy as np
from numba import types as nb

from codec.jit import compiled
from codec.types import STRIDE
from vos.kernels.common import SOFT, readonly


@compiled(nb.void(readonly(nb.int16, 2), nb.float32[:, ::1]))
def mean_absolute(residual, out):
    """Write the mean magnitude per cell, in whole grey levels, to float32 [rows, columns]; the border is repeated."""
    height, width = residual.shape
    rows, columns = out.shape
    flat = residual.reshape(-1)
    sums = np.empty(columns * STRIDE, np.uint16)
    for row in range(rows):
        sums[:] = 0
        for y in range(row * STRIDE, row * STRIDE + STRIDE):
            start = np.uint64(min(y, height - 1) * width)
            for x in range(np.uint64(width)):
                sums[x] += np.uint16(min(abs(flat[start + x]), np.int16(255)))
        sums[width:] = sums[width - 1]
        for column in range(columns):
            total = np.float32(0)
            for i in range(STRIDE):
                total += np.float32(sums[column * STRIDE + i])
            out[row, column] = np.rint(total / np.float32(STRIDE * STRIDE))


@compiled(nb.void(SOFT, nb.float64[::1]))
def mask_confidence(soft, out):
    """Write the mean of each soft mask where it exceeds one half, 0 where it never does, to float64 [K]."""
    objects, rows, columns = soft.shape
    # Sums are kept per column until the end, so that a row is added with few vector instructions.
    total, count = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for k in range(objects):
        total[:] = 0
        count[:] = 0
        for row in range(rows):
            for column in range(columns):
                value = soft[k, row, column]
                inside = value > np.float32(0.5)
                total[column] += value if inside else np.float32(0)
                count[column] += np.float32(1) if inside else np.float32(0)
        out[k] = total.sum() / max(count.sum(), 1)
