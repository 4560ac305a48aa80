"""Fill cells without motion from their neighbours."""

from __future__ import annotations

import math

import numpy as np
from numba import types as nb

from codec.jit import compiled

_FILL_STEP = 4
"""Factor by which each level of the pyramid is coarser than the one below it."""
_FILL_LEVELS = 12
"""More levels than any picture needs."""
_SLOTS = 256
"""More than any table of references has; the last one counts cells without a reference."""
_TOO_FEW = np.float32(1e-6)
"""Share of known vectors in an area up to which the area counts as unknown."""


@compiled()
def _most_used(slots):
    """Return the list and the slot that most cells point to."""
    _, rows, columns = slots.shape
    most, used, common = 0, 0, 0
    for which in range(2):
        counts = np.zeros(_SLOTS, np.int32)
        for row in range(rows):
            # Neighbours mostly point to the same slot. Counting runs avoids repeated updates of one counter.
            start, slot = 0, slots[which, row, 0]
            for column in range(1, columns + 1):
                if column == columns or slots[which, row, column] != slot:
                    counts[slot] += column - start
                    start = column
                    slot = slots[which, row, column] if column < columns else slot
        counts[-1] = 0
        for slot in range(len(counts)):
            if counts[slot] > most:
                most, used, common = counts[slot], which, slot
    return used, common


@compiled()
def _make(levels, sizes, made, level, i, j):
    """Compute levels[level, i, j], if it is not yet known: the mean of the cells that it covers, weighted by area."""
    if level == 0 or made[level, i, j]:
        return
    rows, columns = sizes[level - 1, 0], sizes[level - 1, 1]
    scale_y, scale_x = rows / sizes[level, 0], columns / sizes[level, 1]
    top, bottom = i * scale_y, min((i + 1) * scale_y, rows)
    left, right = j * scale_x, min((j + 1) * scale_x, columns)
    x, y, share = np.float32(0), np.float32(0), np.float32(0)
    for row in range(int(top), math.ceil(bottom)):
        height = np.float32((min(bottom, row + 1) - max(top, row)) / (scale_y * scale_x))
        for column in range(int(left), math.ceil(right)):
            _make(levels, sizes, made, level - 1, row, column)
            area = height * np.float32(min(right, column + 1) - max(left, column))
            x += area * levels[level - 1, row, column, 0]
            y += area * levels[level - 1, row, column, 1]
            share += area * levels[level - 1, row, column, 2]
    levels[level, i, j, 0], levels[level, i, j, 1], levels[level, i, j, 2] = x, y, share
    made[level, i, j] = True


@compiled(nb.void(nb.float32[:, :, :, ::1], nb.int32[:, :, ::1]))
def fill_missing(vectors, slots):
    """Fill cells without a reference in place, as described in `vos.propagation.warp.fill_missing`."""
    _, rows, columns = slots.shape
    used, common = _most_used(slots)
    # Holes are few and mostly small, so entries of the pyramid are computed only when a hole needs them.
    levels = np.empty((_FILL_LEVELS, rows, columns, 3), np.float32)
    sizes = np.empty((_FILL_LEVELS, 2), np.int64)
    sizes[0, 0], sizes[0, 1] = rows, columns
    for level in range(1, _FILL_LEVELS):
        for axis in range(2):
            sizes[level, axis] = -(-sizes[level - 1, axis] // _FILL_STEP)
    made = np.zeros((_FILL_LEVELS, sizes[1, 0], sizes[1, 1]), np.bool_)
    for row in range(rows):
        for column in range(columns):
            known = np.float32(slots[used, row, column] == common)
            levels[0, row, column, 0] = vectors[used, row, column, 0] * known
            levels[0, row, column, 1] = vectors[used, row, column, 1] * known
            levels[0, row, column, 2] = known
    for row in range(rows):
        for column in range(columns):
            if slots[0, row, column] >= 0 or slots[1, row, column] >= 0:
                continue
            y, x, level = row, column, 0
            while level == 0 or (levels[level, y, x, 2] <= _TOO_FEW and level < _FILL_LEVELS - 1):
                level += 1
                y = y * sizes[level, 0] // sizes[level - 1, 0]
                x = x * sizes[level, 1] // sizes[level - 1, 1]
                _make(levels, sizes, made, level, y, x)
            vectors[used, row, column, 0] = levels[level, y, x, 0] / levels[level, y, x, 2]
            vectors[used, row, column, 1] = levels[level, y, x, 1] / levels[level, y, x, 2]
            slots[used, row, column] = common
