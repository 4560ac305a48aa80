"""Blocks -> cells: which block covers a cell, and what that block says."""

from __future__ import annotations

import math

import numpy as np
from numba import types as nb

from codec.jit import compiled
from codec.kernels.common import GRID, NUMBERS, VECTORS, clamped, inlined
from codec.types import STRIDE

_RECORD_FIELDS = tuple(
    nb.Array(kind, 1, "A", readonly=True)
    for kind in (nb.int32, nb.uint8, nb.uint8, nb.int16, nb.int16, nb.int32, nb.int32, nb.uint16)
)


@inlined
def _cells(start, size, cells):
    """First cell, and the one after the last, whose centres lie in [start, start + size) along one axis."""
    first = math.ceil(start / STRIDE - 0.5)
    end = math.ceil((start + size) / STRIDE - 0.5)
    return clamped(first, 0, cells), clamped(end, 0, cells)


@compiled(
    nb.void(*_RECORD_FIELDS, nb.UniTuple(nb.float64, 2), nb.UniTuple(nb.int64, 2), VECTORS, NUMBERS, VECTORS, GRID)
)
def lay(source, w, h, dst_x, dst_y, motion_x, motion_y, motion_scale, scale, crop, vectors, lists, corners, block):
    """Fill `vectors`, `lists` [n], `corners` [n, 4] and `block` as described by `codec.motion.block_grid.BlockMotion`.

    Args:
        source, w, h, dst_x, dst_y, motion_x, motion_y, motion_scale: Fields of the records [n].
        scale: (x, y) analysis pixels to one pixel of the vectors' picture.
        crop: (left, top) pixels that cropping took off the vectors' picture.
    """
    _, rows, columns = block.shape
    area, cells = np.empty(len(source), np.int32), block.reshape(-1)
    cells[:] = -1
    vectors[-1] = 0
    for i in range(len(source)):
        which = 1 if source[i] > 0 else 0
        lists[i] = which
        vectors[i, 0] = motion_x[i] / motion_scale[i] * scale[0]
        vectors[i, 1] = motion_y[i] / motion_scale[i] * scale[1]
        corners[i, 0] = (dst_x[i] - 0.5 * w[i] - crop[0]) * scale[0]
        corners[i, 1] = (dst_y[i] - 0.5 * h[i] - crop[1]) * scale[1]
        corners[i, 2] = w[i] * scale[0]
        corners[i, 3] = h[i] * scale[1]
        left, right = _cells(corners[i, 0], corners[i, 2], columns)
        top, bottom = _cells(corners[i, 1], corners[i, 3], rows)
        area[i] = (right - left) * (bottom - top)
        for row in range(top, bottom):
            start = (which * rows + row) * columns
            for cell in range(np.uint64(start + left), np.uint64(start + right)):
                before = cells[cell]
                if before < 0 or area[i] <= area[np.uint64(before)]:
                    cells[cell] = i


@compiled(nb.void(GRID, VECTORS, NUMBERS, NUMBERS, nb.float32[:, :, :, ::1], GRID))
def gather(block, vectors, slot, names, field, reference):
    """Fill `field` and `reference` as `codec.types.MotionField` describes them.

    Args:
        names: int32 [slots + 1], the decode index of each slot's picture; the last one is -1.
    """
    last = len(slot) - 1
    used, name = vectors.copy(), np.empty(last + 1, np.int32)
    for i in range(last + 1):
        name[i] = names[slot[i]]
        if slot[i] < 0:
            used[i] = 0
    pairs, to = used.view(np.int64).reshape(-1), field.view(np.int64).reshape(-1)  # both parts of a vector at once
    numbers, references = block.reshape(-1), reference.reshape(-1)
    for cell in range(np.uint64(numbers.size)):
        number = np.uint64(numbers[cell] if numbers[cell] >= 0 else last)
        to[cell] = pairs[number]
        references[cell] = name[number]
