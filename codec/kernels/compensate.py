"""Motion-compensated residual: luma minus the prediction by each cell's blocks.

A picture is cut into squares of 16 x 16, 8 x 8 or 4 x 4 pixels, the largest whose cells have the same blocks. A square
whose prediction lies within the pictures goes row by row; one at a border goes pixel by pixel, with edges repeated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types as nb

from codec.jit import compiled
from codec.kernels.common import FRAME, GRID, NUMBERS, PICTURES, VECTORS, WHOLE, clamped, inlined, placed
from codec.kernels.simd import add, distance, load, multiply, shift_right, spread, store, subtract, total
from codec.types import STRIDE


@inlined
def _mixed(pixels, place, weights, lanes):
    """A row of bilinear mixtures of four pixels each, rounded."""
    here, right, down = place
    left, next_left, top, next_top = weights
    upper = add(multiply(load(pixels, here, lanes), left), multiply(load(pixels, here + right, lanes), next_left))
    here += down
    lower = add(multiply(load(pixels, here, lanes), left), multiply(load(pixels, here + right, lanes), next_left))
    mixed = add(add(multiply(upper, top), multiply(lower, next_top)), spread(np.uint16(WHOLE * WHOLE // 2), lanes))
    return shift_right(mixed, spread(np.uint16(8), lanes))


def _rows(size: int) -> Any:
    """The loop over the rows of a square of `size` pixels; its length is fixed, so that it becomes vectors."""

    @inlined
    def weights_of(x, y):
        return (
            spread(np.uint16(WHOLE - x), size),
            spread(np.uint16(x), size),
            spread(np.uint16(WHOLE - y), size),
            spread(np.uint16(y), size),
        )

    @inlined
    def rows(pictures, first, second, luma, here, width, out):
        """Residual of a square that starts at `here`; returns the sum of its absolute values."""
        _, start, right, down, x, y = first
        bipredicted, start_2, right_2, down_2, x_2, y_2 = second
        weights, weights_2 = weights_of(x, y), weights_of(x_2, y_2)
        one, error = spread(np.uint16(1), size), spread(np.uint16(0), size)
        for _ in range(size):
            guess = _mixed(pictures, (start, right, down), weights, size)
            if bipredicted:  # the mean, halves rounded up (H.264 clause 8.4.2.3.1)
                other = _mixed(pictures, (start_2, right_2, down_2), weights_2, size)
                guess = shift_right(add(add(guess, other), one), one)
            own = load(luma, here, size)
            store(out, here, subtract(own, guess))
            error = add(error, distance(own, guess))
            here, start, start_2 = here + width, start + width, start_2 + width
        return total(error)

    return rows


_rows_16, _rows_8, _rows_4 = _rows(16), _rows(8), _rows(4)


@inlined
def _source(shape, slot, vector, y, x, size):
    """Where the prediction of a square at (y, x) lies.

    Returns:
        Whether it is used and within the picture, the index of its first pixel, how far the pixel to the right and the
        one below are (0 where they have no weight), and their weights.
    """
    height, width = shape
    (whole_x, weight_x), (whole_y, weight_y) = placed(vector[0]), placed(vector[1])
    left, top = x + whole_x, y + whole_y
    right, down = int(weight_x > 0), int(weight_y > 0)
    inside = slot >= 0 and left >= 0 and top >= 0 and left + size + right <= width and top + size + down <= height
    return (
        inside, np.uint64((slot * height + top) * width + left), np.uint64(right), np.uint64(down * width),
        weight_x, weight_y,
    )  # fmt: skip


@inlined
def _pixel(pictures, shape, slot, vector, y, x):
    """The prediction of one pixel, edges repeated."""
    height, width = shape
    (whole_x, weight_x), (whole_y, weight_y) = placed(vector[0]), placed(vector[1])
    left, right = clamped(x + whole_x, 0, width - 1), clamped(x + whole_x + 1, 0, width - 1)
    upper = (slot * height + clamped(y + whole_y, 0, height - 1)) * width
    lower = (slot * height + clamped(y + whole_y + 1, 0, height - 1)) * width
    top = (WHOLE - weight_x) * pictures[np.uint64(upper + left)] + weight_x * pictures[np.uint64(upper + right)]
    bottom = (WHOLE - weight_x) * pictures[np.uint64(lower + left)] + weight_x * pictures[np.uint64(lower + right)]
    return ((WHOLE - weight_y) * top + weight_y * bottom + WHOLE * WHOLE // 2) >> 8


@inlined
def _by_pixel(pictures, shape, slots, vectors, luma, y, x, size, out):
    """Residual of the part of a square that is in the picture; returns the mean of its absolute values."""
    height, width = shape
    bottom, right = min(y + size, height), min(x + size, width)
    error = 0
    for row in range(y, bottom):
        for column in range(x, right):
            here = np.uint64(row * width + column)
            own = int(luma[here])
            guess = _pixel(pictures, shape, slots[0], vectors[0], row, column) if slots[0] >= 0 else own
            if slots[1] >= 0:
                guess = (guess + _pixel(pictures, shape, slots[1], vectors[1], row, column) + 1) >> 1
            out[here] = own - guess
            error += abs(own - guess)
    return np.float32(error) / np.float32((bottom - y) * (right - x))


@inlined
def _square(pictures, shape, slot, vectors, one, other, luma, y, x, size, out):
    """Residual of a square that blocks `one` and `other` predict; returns the mean of its absolute values."""
    if slot[one] < 0:
        one, other = other, one
    slots = slot[one], slot[other]
    vectors = (vectors[one, 0], vectors[one, 1]), (vectors[other, 0], vectors[other, 1])
    first, second = (
        _source(shape, slots[0], vectors[0], y, x, size),
        _source(shape, slots[1], vectors[1], y, x, size),
    )
    if not first[0] or (slots[1] >= 0 and not second[0]) or y + size > shape[0] or x + size > shape[1]:
        return _by_pixel(pictures, shape, slots, vectors, luma, y, x, size, out)
    here, width = np.uint64(y * shape[1] + x), np.uint64(shape[1])
    if size == 16:
        error = _rows_16(pictures, first, second, luma, here, width, out)
    elif size == 8:
        error = _rows_8(pictures, first, second, luma, here, width, out)
    else:
        error = _rows_4(pictures, first, second, luma, here, width, out)
    return np.float32(error) / np.float32(size * size)


@inlined
def _alike(first, second, columns, shape, row, column, cells):
    """Whether a square of cells is all in the picture and has the same two blocks everywhere."""
    if (row + cells) * STRIDE > shape[0] or (column + cells) * STRIDE > shape[1]:
        return False
    here, columns = np.uint64(row * columns + column), np.uint64(columns)
    different = np.int32(0)
    for down in range(np.uint64(cells)):
        for right in range(np.uint64(cells)):
            there = here + down * columns + right
            different |= (first[there] ^ first[here]) | (second[there] ^ second[here])
    return different == 0


@compiled(
    nb.void(
        GRID, VECTORS, NUMBERS, nb.boolean[::1], nb.float64, PICTURES, FRAME, nb.int16[:, ::1], nb.float32[::1]
    )
)  # fmt: skip
def compensate(block, vectors, slot, wanted, level, pictures, luma, out, excess):
    """Predict those cells of a frame that a wanted block covers, bilinear, edges repeated, both lists averaged.

    Args:
        wanted: bool [n + 1].
        level: Mean absolute error that is taken for granted.
        out: int16 [height, width], luma minus prediction; 0 where there is none.
        excess: float32 [n + 1], by block the sum over its predicted cells of what their mean absolute errors exceed
            `level` by (the last one counts what no block covers).
    """
    _, rows, columns = block.shape
    shape = luma.shape
    first, second = block[0].reshape(-1), block[1].reshape(-1)
    pixels, own, to = pictures.reshape(-1), luma.reshape(-1), out.reshape(-1)
    excess[:] = 0

    for group in range(-(-rows // 4) * -(-columns // 4)):
        top, left = group // -(-columns // 4) * 4, group % -(-columns // 4) * 4
        cell = 0
        while cell < 16:  # the 4 x 4 cells of a group, each quarter after the other
            row = top + (cell >> 3) * 2 + (cell >> 1 & 1)
            column = left + (cell >> 2 & 1) * 2 + (cell & 1)
            cells = 1
            if cell == 0 and _alike(first, second, columns, shape, row, column, 4):
                cells = 4
            elif cell % 4 == 0 and _alike(first, second, columns, shape, row, column, 2):
                cells = 2
            cell += cells * cells
            if row >= rows or column >= columns:
                continue
            here = np.uint64(row * columns + column)
            one, other = first[here], second[here]
            if wanted[one] or wanted[other]:
                y, x, size = row * STRIDE, column * STRIDE, cells * STRIDE
                mean = _square(pixels, shape, slot, vectors, one, other, own, y, x, size, to)
                much = np.float32((mean - level) * (cells * cells))
                excess[one] += much
                excess[other] += much
