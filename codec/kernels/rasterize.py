"""Rasterize blocks onto the stride-4 grid."""

from __future__ import annotations

import math

import numpy as np
from numba import types as nb

from codec.jit import compiled
from codec.kernels.common import FLOAT32_2D, INT32_1D, INT32_3D, clamp, inlined
from codec.types import STRIDE

_RECORD_FIELD_TYPES = tuple(
    nb.Array(kind, 1, "A", readonly=True)
    for kind in (nb.int32, nb.uint8, nb.uint8, nb.int16, nb.int16, nb.int32, nb.int32, nb.uint16)
)


@inlined
def _cell_range(start, size, cells):
    """First and one past the last cell whose center lies in [start, start + size) along one axis."""
    first = math.ceil(start / STRIDE - 0.5)
    end = math.ceil((start + size) / STRIDE - 0.5)
    return clamp(first, 0, cells), clamp(end, 0, cells)


@compiled(
    nb.void(
        *_RECORD_FIELD_TYPES, nb.UniTuple(nb.float64, 2), nb.UniTuple(nb.int64, 2),
        FLOAT32_2D, INT32_1D, FLOAT32_2D, INT32_3D,
    )
)  # fmt: skip
def rasterize_blocks(
    source, w, h, dst_x, dst_y, motion_x, motion_y, motion_scale, scale, crop, vectors, lists, boxes, block_of_cell
):
    """Fill `vectors`, `lists`, `boxes` and `block_of_cell` as described by `codec.motion.block_grid.BlockGrid`.

    Args:
        source, w, h, dst_x, dst_y, motion_x, motion_y, motion_scale: Fields of the AVMotionVector records [blocks].
        scale: Analysis pixels per pixel of the vectors' picture, (x, y).
        crop: Pixels cropped from the vectors' picture, (left, top).
    """
    _, rows, columns = block_of_cell.shape
    area, cells = np.empty(len(source), np.int32), block_of_cell.reshape(-1)
    cells[:] = -1
    vectors[-1] = 0
    for i in range(len(source)):
        which = 1 if source[i] > 0 else 0
        lists[i] = which
        vectors[i, 0] = motion_x[i] / motion_scale[i] * scale[0]
        vectors[i, 1] = motion_y[i] / motion_scale[i] * scale[1]
        boxes[i, 0] = (dst_x[i] - 0.5 * w[i] - crop[0]) * scale[0]
        boxes[i, 1] = (dst_y[i] - 0.5 * h[i] - crop[1]) * scale[1]
        boxes[i, 2] = w[i] * scale[0]
        boxes[i, 3] = h[i] * scale[1]
        left, right = _cell_range(boxes[i, 0], boxes[i, 2], columns)
        top, bottom = _cell_range(boxes[i, 1], boxes[i, 3], rows)
        area[i] = (right - left) * (bottom - top)
        for row in range(top, bottom):
            start = (which * rows + row) * columns
            for cell in range(np.uint64(start + left), np.uint64(start + right)):
                current = cells[cell]
                if current < 0 or area[i] <= area[np.uint64(current)]:
                    cells[cell] = i


@compiled(nb.void(INT32_3D, FLOAT32_2D, INT32_1D, INT32_1D, nb.float32[:, :, :, ::1], INT32_3D))
def fill_motion_field(block_of_cell, vectors, slots, decode_indices, field, reference):
    """Fill `field` and `reference`, the arrays of a `codec.types.MotionField`.

    Args:
        decode_indices: int32 [slots + 1], decode index of the picture in each slot. The last entry is -1.
        field: float32 [2, rows, columns, 2], the vectors.
        reference: int32 [2, rows, columns].
    """
    last = len(slots) - 1
    used, block_reference = vectors.copy(), np.empty(last + 1, np.int32)
    for i in range(last + 1):
        block_reference[i] = decode_indices[slots[i]]
        if slots[i] < 0:
            used[i] = 0
    # A vector's two float32 are copied as one int64.
    block_vectors, cell_vectors = used.view(np.int64).reshape(-1), field.view(np.int64).reshape(-1)
    blocks, references = block_of_cell.reshape(-1), reference.reshape(-1)
    for cell in range(np.uint64(blocks.size)):
        block = np.uint64(blocks[cell] if blocks[cell] >= 0 else last)
        cell_vectors[cell] = block_vectors[block]
        references[cell] = block_reference[block]
