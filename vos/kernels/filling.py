"""Motion for cells that have none, from their neighbours."""

from __future__ import annotations

import math

import numpy as np
from numba import types as nb

from codec.compiling import compiled

_FILL_STEP = 4
"""Each level of the pyramid is this much coarser than the one below it."""
_FILL_LEVELS = 12
"""More levels than any picture needs."""
_TOO_FEW = np.float32(1e-6)
"""Share of known vectors in an area below which it counts as having none."""


@compiled()
def _most_used(slots):
    """List and slot that most cells point to."""
    _, rows, columns = slots.shape
    most, used, common = 0, 0, 0
    for which in range(2):
        counts = np.zeros(256, np.int32)
        for row in range(rows):
            for column in range(columns):
                slot = slots[which, row, column]
                if slot >= 0:
                    counts[slot] += 1
        for slot in range(len(counts)):
            if counts[slot] > most:
                most, used, common = counts[slot], which, slot
    return used, common


@compiled()
def _shrink(finer, size, coarser, fewer):
    """Means of float32 [rows, columns, 3], of which `size` counts, over what each coarser cell covers."""
    rows, columns = size[0], size[1]
    scale_y, scale_x = rows / fewer[0], columns / fewer[1]
    for i in range(fewer[0]):
        top, bottom = i * scale_y, min((i + 1) * scale_y, rows)
        for j in range(fewer[1]):
            left, right = j * scale_x, min((j + 1) * scale_x, columns)
            x, y, share = np.float32(0), np.float32(0), np.float32(0)
            for row in range(int(top), math.ceil(bottom)):
                height = np.float32((min(bottom, row + 1) - max(top, row)) / (scale_y * scale_x))
                for column in range(int(left), math.ceil(right)):
                    area = height * np.float32(min(right, column + 1) - max(left, column))
                    x += area * finer[row, column, 0]
                    y += area * finer[row, column, 1]
                    share += area * finer[row, column, 2]
            coarser[i, j, 0], coarser[i, j, 1], coarser[i, j, 2] = x, y, share


@compiled(nb.void(nb.float32[:, :, :, ::1], nb.int32[:, :, ::1]))
def fill_missing(vectors, slots):
    """Give cells without a reference one, in place, as `vos.warp.fill_missing` describes it."""
    _, rows, columns = slots.shape
    used, common = _most_used(slots)
    # Level i + 1 is `_FILL_STEP` times coarser than level i; its size stands in `sizes`, that of the last is 1 x 1.
    sizes = np.ones((_FILL_LEVELS, 2), np.int64)
    levels = np.empty((_FILL_LEVELS, rows, columns, 3), np.float32)
    sizes[0, 0], sizes[0, 1] = rows, columns
    for row in range(rows):
        for column in range(columns):
            known = np.float32(slots[used, row, column] == common)
            levels[0, row, column, 0] = vectors[used, row, column, 0] * known
            levels[0, row, column, 1] = vectors[used, row, column, 1] * known
            levels[0, row, column, 2] = known
    top = 0
    while top == 0 or sizes[top, 0] * sizes[top, 1] > 1:
        for axis in range(2):
            sizes[top + 1, axis] = -(-sizes[top, axis] // _FILL_STEP)
        _shrink(levels[top], sizes[top], levels[top + 1], sizes[top + 1])
        top += 1
    for row in range(rows):
        for column in range(columns):
            if slots[0, row, column] >= 0 or slots[1, row, column] >= 0:
                continue
            y, x, level = row, column, 0
            while level == 0 or (levels[level, y, x, 2] <= _TOO_FEW and level < top):
                y = y * sizes[level + 1, 0] // sizes[level, 0]
                x = x * sizes[level + 1, 1] // sizes[level, 1]
                level += 1
            share = max(levels[level, y, x, 2], _TOO_FEW)
            vectors[used, row, column, 0] = levels[level, y, x, 0] / share
            vectors[used, row, column, 1] = levels[level, y, x, 1] / share
            slots[used, row, column] = common
