"""Sample channels where the motion vectors of cells point to."""

from __future__ import annotations

import numpy as np
from numba import types as nb

from codec.jit import compiled
from codec.types import STRIDE
from vos.kernels.common import OCCUPIED, SLOTS, VECTORS, readonly


@compiled(nb.int64(SLOTS, nb.int64, readonly(nb.int32, 1), nb.int32[:, :, ::1]))
def lookup_slots(reference, oldest, table, slots):
    """Fill `slots` with the slot of each cell's reference. Return the number of cells with a slot in any list.

    Args:
        reference: Decode indices, int32 [2, rows, columns], -1 for none.
        oldest: Decode index of the frame whose slot is table[0].
        table: Slots of consecutive frames, int32 [n]; frames outside it have no slot.
        slots: Output, int32 [2, rows, columns], -1 for none.
    """
    _, rows, columns = slots.shape
    covered = 0
    for row in range(rows):
        for column in range(columns):
            for which in range(2):
                entry = reference[which, row, column] - oldest
                slots[which, row, column] = table[entry] if 0 <= entry < len(table) else -1
            covered += slots[0, row, column] >= 0 or slots[1, row, column] >= 0
    return covered


@compiled()
def _source(vectors, which, row, column, rows, columns):
    """Return where a cell comes from in one list: (y, x) in cells, float32, inside the picture.

    A vector may point outside it, where decoders repeat the border (H.264 8.4.2.2).
    """
    x = vectors[which, row, column, 0] * np.float32(1 / STRIDE) + np.float32(column)
    y = vectors[which, row, column, 1] * np.float32(1 / STRIDE) + np.float32(row)
    return min(max(y, np.float32(0)), np.float32(rows - 1)), min(max(x, np.float32(0)), np.float32(columns - 1))


@compiled()
def _comes_from(vectors, slots, occupied, row, column):
    """Return whether a cell comes from an occupied cell in any list."""
    _, rows, columns = slots.shape
    for which in range(2):
        slot = slots[which, row, column]
        if slot >= 0:
            y, x = _source(vectors, which, row, column, rows, columns)
            if occupied[slot, int(y), int(x)]:
                return True
    return False


@compiled()
def _corners_of(slot, y, x, share, rows, columns):
    """Return the flat index of a place's first corner, the steps right and down, and the four corners' weights."""
    one = np.float32(1)
    left, top = int(x), int(y)
    fx, fy = x - np.float32(left), y - np.float32(top)
    right, below = int(left < columns - 1), columns * int(top < rows - 1)
    weights = ((one - fy) * (one - fx) * share, (one - fy) * fx * share, fy * (one - fx) * share, fy * fx * share)
    return (slot * rows + top) * columns + left, right, below, weights


@compiled(nb.int64(VECTORS, SLOTS, OCCUPIED, nb.int64[::1], nb.int64[:, ::1], nb.float32[:, ::1]))
def sampling(vectors, slots, occupied, cells, corners, weights):
    """Fill the first n entries of `cells`, `corners` and `weights` (see `vos.propagation.warp.sampling`); return n."""
    _, rows, columns = slots.shape
    count = 0
    for row in range(rows):
        for column in range(columns):
            if not _comes_from(vectors, slots, occupied, row, column):
                continue
            cells[count] = row * columns + column
            both = slots[0, row, column] >= 0 and slots[1, row, column] >= 0
            for which in range(2):
                slot = slots[which, row, column]
                share = np.float32(0) if slot < 0 else np.float32(0.5) if both else np.float32(1)
                y, x = _source(vectors, which, row, column, rows, columns)
                first, right, below, (a, b, c, d) = _corners_of(max(slot, 0), y, x, share, rows, columns)
                k = 4 * which
                corners[count, k], corners[count, k + 1] = first, first + right
                corners[count, k + 2], corners[count, k + 3] = first + below, first + below + right
                weights[count, k], weights[count, k + 1], weights[count, k + 2], weights[count, k + 3] = a, b, c, d
            count += 1
    return count


@compiled(nb.void(readonly(nb.float32, 2), VECTORS, SLOTS, OCCUPIED, nb.float32[:, :, ::1]))
def warp(table, vectors, slots, occupied, out):
    """Interpolate the cells that come from an occupied cell.

    Args:
        table: Channels of all frames, float32 [C, frames * rows * columns].
        out: Output, float32 [C, rows, columns], filled with 0.
    """
    channels, rows, columns = out.shape
    for row in range(rows):
        for column in range(columns):
            if not _comes_from(vectors, slots, occupied, row, column):
                continue
            both = slots[0, row, column] >= 0 and slots[1, row, column] >= 0
            share = np.float32(0.5) if both else np.float32(1)
            for which in range(2):
                slot = slots[which, row, column]
                if slot < 0:
                    continue
                y, x = _source(vectors, which, row, column, rows, columns)
                first, right, below, (a, b, c, d) = _corners_of(slot, y, x, share, rows, columns)
                for k in range(channels):
                    out[k, row, column] += (
                        a * table[k, first]
                        + b * table[k, first + right]
                        + c * table[k, first + below]
                        + d * table[k, first + below + right]
                    )
