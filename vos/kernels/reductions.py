"""What cells and masks amount to."""

from __future__ import annotations

import numpy as np
from numba import types as nb

from codec.jit import compiled
from codec.types import STRIDE
from vos.kernels.common import SOFT, readonly


@compiled(nb.void(readonly(nb.int16, 2), nb.float32[:, ::1]))
def mean_absolute(residual, out):
    """Mean magnitude of each cell's pixels in whole grey levels, the border repeated, into float32 [rows, columns]."""
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
    """Mean of each soft mask where it is above one half, 0 where it is nowhere, into float64 [K]."""
    objects, rows, columns = soft.shape
    # Sums of columns are added up in the end, so that a row is added by few vector instructions.
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
