"""Residual of motion compensation: luma minus the prediction from each cell's blocks.

The picture is cut into squares of 16 x 16, 8 x 8 or 4 x 4 pixels, the largest whose cells have the same blocks. If its
prediction lies inside the reference pictures, a square is processed row by row with SIMD, otherwise pixel by pixel with
repeated edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types as nb

from codec.jit import compiled
from codec.kernels.common import (
    FLOAT32_1D,
    FLOAT32_2D,
    INT32_1D,
    INT32_3D,
    SUBPIXELS,
    UINT8_2D_READONLY,
    UINT8_3D,
    clamp,
    inlined,
    split_subpixels,
)
from codec.kernels.simd import abs_diff, add, load, multiply, reduce_add, shift_right, splat, store, subtract
from codec.types import STRIDE


@inlined
def _interpolated_row(pixels, place, weights, size):
    """A row of `size` bilinear samples, rounded."""
    here, right, down = place
    left, next_left, top, next_top = weights
    upper = add(multiply(load(pixels, here, size), left), multiply(load(pixels, here + right, size), next_left))
    here += down
    lower = add(multiply(load(pixels, here, size), left), multiply(load(pixels, here + right, size), next_left))
    half = splat(np.uint16(SUBPIXELS * SUBPIXELS // 2), size)
    total = add(add(multiply(upper, top), multiply(lower, next_top)), half)
    return shift_right(total, splat(np.uint16(8), size))


def _square_kernel(size: int) -> Any:
    """Build the SIMD loop for squares of `size` pixels. The size must be a compile-time constant."""

    @inlined
    def weights_of(x, y):
        return (
            splat(np.uint16(SUBPIXELS - x), size),
            splat(np.uint16(x), size),
            splat(np.uint16(SUBPIXELS - y), size),
            splat(np.uint16(y), size),
        )

    @inlined
    def compensate_rows(pictures, first, second, luma, here, width, out):
        """Store the residual of the square at index `here` and return the sum of its absolute values."""
        _, start, right, down, x, y = first
        is_bipredicted, start_2, right_2, down_2, x_2, y_2 = second
        weights, weights_2 = weights_of(x, y), weights_of(x_2, y_2)
        one, error = splat(np.uint16(1), size), splat(np.uint16(0), size)
        for _ in range(size):
            prediction = _interpolated_row(pictures, (start, right, down), weights, size)
            if is_bipredicted:  # the mean, halves rounded up (H.264 clause 8.4.2.3.1)
                prediction_2 = _interpolated_row(pictures, (start_2, right_2, down_2), weights_2, size)
                prediction = shift_right(add(add(prediction, prediction_2), one), one)
            own = load(luma, here, size)
            store(out, here, subtract(own, prediction))
            error = add(error, abs_diff(own, prediction))
            here, start, start_2 = here + width, start + width, start_2 + width
        return reduce_add(error)

    return compensate_rows


_compensate_16, _compensate_8, _compensate_4 = _square_kernel(16), _square_kernel(8), _square_kernel(4)


@inlined
def _locate(shape, slot, vector, y, x, size):
    """Locate the prediction of the square at (y, x).

    Returns:
        Whether it exists and lies inside the picture, the index of its first pixel, the offsets of the pixels to the
        right and below (0 if they have no weight), and the weights of these pixels.
    """
    height, width = shape
    (whole_x, weight_x), (whole_y, weight_y) = split_subpixels(vector[0]), split_subpixels(vector[1])
    left, top = x + whole_x, y + whole_y
    right, down = int(weight_x > 0), int(weight_y > 0)
    inside = slot >= 0 and left >= 0 and top >= 0 and left + size + right <= width and top + size + down <= height
    return (
        inside, np.uint64((slot * height + top) * width + left), np.uint64(right), np.uint64(down * width),
        weight_x, weight_y,
    )  # fmt: skip


@inlined
def _predict_pixel(pictures, shape, slot, vector, y, x):
    """The prediction of one pixel, with the edges repeated."""
    height, width = shape
    (whole_x, weight_x), (whole_y, weight_y) = split_subpixels(vector[0]), split_subpixels(vector[1])
    left, right = clamp(x + whole_x, 0, width - 1), clamp(x + whole_x + 1, 0, width - 1)
    upper = (slot * height + clamp(y + whole_y, 0, height - 1)) * width
    lower = (slot * height + clamp(y + whole_y + 1, 0, height - 1)) * width
    top = (SUBPIXELS - weight_x) * pictures[np.uint64(upper + left)] + weight_x * pictures[np.uint64(upper + right)]
    bottom = (SUBPIXELS - weight_x) * pictures[np.uint64(lower + left)] + weight_x * pictures[np.uint64(lower + right)]
    return ((SUBPIXELS - weight_y) * top + weight_y * bottom + SUBPIXELS * SUBPIXELS // 2) >> 8


@inlined
def _compensate_pixels(pictures, shape, slots, vectors, luma, y, x, size, out):
    """Store the residual of a square clipped to the picture and return the mean of its absolute values."""
    height, width = shape
    bottom, right = min(y + size, height), min(x + size, width)
    error = 0
    for row in range(y, bottom):
        for column in range(x, right):
            here = np.uint64(row * width + column)
            own = int(luma[here])
            prediction = _predict_pixel(pictures, shape, slots[0], vectors[0], row, column) if slots[0] >= 0 else own
            if slots[1] >= 0:
                prediction = (prediction + _predict_pixel(pictures, shape, slots[1], vectors[1], row, column) + 1) >> 1
            out[here] = own - prediction
            error += abs(own - prediction)
    return np.float32(error) / np.float32((bottom - y) * (right - x))


@inlined
def _compensate_square(pictures, shape, slots, vectors, block_0, block_1, luma, y, x, size, out):
    """Store the residual of a square predicted from two blocks and return the mean of its absolute values."""
    if slots[block_0] < 0:
        block_0, block_1 = block_1, block_0
    pair = slots[block_0], slots[block_1]
    vectors = (vectors[block_0, 0], vectors[block_0, 1]), (vectors[block_1, 0], vectors[block_1, 1])
    first, second = _locate(shape, pair[0], vectors[0], y, x, size), _locate(shape, pair[1], vectors[1], y, x, size)
    if not first[0] or (pair[1] >= 0 and not second[0]) or y + size > shape[0] or x + size > shape[1]:
        return _compensate_pixels(pictures, shape, pair, vectors, luma, y, x, size, out)
    here, width = np.uint64(y * shape[1] + x), np.uint64(shape[1])
    if size == 16:
        error = _compensate_16(pictures, first, second, luma, here, width, out)
    elif size == 8:
        error = _compensate_8(pictures, first, second, luma, here, width, out)
    else:
        error = _compensate_4(pictures, first, second, luma, here, width, out)
    return np.float32(error) / np.float32(size * size)


@inlined
def _is_uniform(blocks_0, blocks_1, columns, shape, row, column, cells):
    """Whether a square of cells lies inside the picture and has the same two blocks everywhere."""
    if (row + cells) * STRIDE > shape[0] or (column + cells) * STRIDE > shape[1]:
        return False
    here, columns = np.uint64(row * columns + column), np.uint64(columns)
    difference = np.int32(0)
    for down in range(np.uint64(cells)):
        for right in range(np.uint64(cells)):
            there = here + down * columns + right
            difference |= (blocks_0[there] ^ blocks_0[here]) | (blocks_1[there] ^ blocks_1[here])
    return difference == 0


@compiled(
    nb.void(
        INT32_3D, FLOAT32_2D, INT32_1D, nb.boolean[::1], nb.float64, UINT8_3D, UINT8_2D_READONLY, nb.int16[:, ::1],
        FLOAT32_1D,
    )
)  # fmt: skip
def compensate(block_of_cell, vectors, slots, selected, tolerance, pictures, luma, out, excess):
    """Compute the residual of the cells that selected blocks cover.

    Args:
        selected: bool [blocks + 1], the blocks to predict. The last entry stands for cells without a block.
        tolerance: Mean absolute error in luma levels that does not count as excess.
        out: int16 [height, width], luma minus prediction; 0 without one. Cells that are not selected keep their values.
        excess: float32 [blocks + 1], mean absolute error above `tolerance`, summed over the selected cells of each
            block.
    """
    _, rows, columns = block_of_cell.shape
    shape = luma.shape
    blocks_0, blocks_1 = block_of_cell[0].reshape(-1), block_of_cell[1].reshape(-1)
    pixels, own, to = pictures.reshape(-1), luma.reshape(-1), out.reshape(-1)
    excess[:] = 0

    for group in range(-(-rows // 4) * -(-columns // 4)):
        top, left = group // -(-columns // 4) * 4, group % -(-columns // 4) * 4
        cell = 0
        while cell < 16:  # the 4 x 4 cells of a group in Z-order
            row = top + (cell >> 3) * 2 + (cell >> 1 & 1)
            column = left + (cell >> 2 & 1) * 2 + (cell & 1)
            cells = 1
            if cell == 0 and _is_uniform(blocks_0, blocks_1, columns, shape, row, column, 4):
                cells = 4
            elif cell % 4 == 0 and _is_uniform(blocks_0, blocks_1, columns, shape, row, column, 2):
                cells = 2
            cell += cells * cells
            if row >= rows or column >= columns:
                continue
            here = np.uint64(row * columns + column)
            block_0, block_1 = blocks_0[here], blocks_1[here]
            if selected[block_0] or selected[block_1]:
                y, x, size = row * STRIDE, column * STRIDE, cells * STRIDE
                mean = _compensate_square(pixels, shape, slots, vectors, block_0, block_1, own, y, x, size, to)
                above = np.float32((mean - tolerance) * (cells * cells))
                excess[block_0] += above
                excess[block_1] += above
