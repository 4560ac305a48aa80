"""Loops over blocks and pixels, compiled by numba (pure but for the arrays they fill).

Everything is compiled for its one signature when this module is first imported and kept in numba's cache, beside this
file or in the user's cache folder. So it is imported late: by what analyses frames, not by what only opens a file.

Common arguments:
    records: AVMotionVector records [n], a view of each field.
    block: int32 [2, rows, columns], by list the number of the block that covers a cell, -1 for none.
    vectors: float32 [n + 1, 2], (dx, dy) of each block in pixels; the last row, 0, is for "no block".
    slot: int32 [n + 1], by block the reference picture it is predicted from, -1 for none; the last entry is -1.
    pictures: uint8 [slots, height, width], the reference pictures.
    luma: uint8 [height, width], the frame itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numba import types as nb

from codec.types import STRIDE

_I4, _F4, _U1 = nb.int32, nb.float32, nb.uint8
_RECORD_FIELDS = tuple(
    nb.Array(kind, 1, "A", readonly=True) for kind in (_I4, _U1, _U1, nb.int16, nb.int16, _I4, _I4, nb.uint16)
)
_GRID = _I4[:, :, ::1]
_VECTORS = _F4[:, ::1]
_PICTURES = _U1[:, :, ::1]
_PLANE = _U1[:, ::1]
_FRAME = nb.Array(_U1, 2, "C", readonly=True)

_ONE = 16
"""Weight of a whole pixel: vectors are placed to 1/16 pixel, so that products of two weights fit 16 bits."""
SAMPLES = 4
"""A block is judged by this many samples in each direction, whatever its size."""
UNUSED = -2
"""Instead of a slot: the block predicts nothing, the other list does alone."""


def _compiled(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile for one signature, and keep the result where there is any folder to keep it in."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled: Any = partial(numba.njit, *signature, nogil=True, error_model="numpy")
        try:
            return compiled(cache=True)(function)
        except RuntimeError:  # no folder can be written
            return compiled()(function)

    return decorate


@_compiled()
def _clamped(value, low, high):
    return min(max(value, low), high)


@_compiled()
def _cells(start, size, cells):
    """First cell, and the one after the last, whose centres lie in [start, start + size) along one axis."""
    first = math.ceil(start / STRIDE - 0.5)
    end = math.ceil((start + size) / STRIDE - 0.5)
    return _clamped(first, 0, cells), _clamped(end, 0, cells)


@_compiled(
    nb.void(*_RECORD_FIELDS, nb.UniTuple(nb.float64, 2), nb.UniTuple(nb.int64, 2), _VECTORS, _I4[::1], _VECTORS, _GRID)
)
def lay(source, w, h, dst_x, dst_y, motion_x, motion_y, motion_scale, scale, crop, vectors, lists, corners, block):
    """Fill `vectors`, `lists` [n], `corners` [n, 4] and `block` as `codec.motion.BlockMotion` describes them.

    Args:
        source, w, h, dst_x, dst_y, motion_x, motion_y, motion_scale: Fields of the records [n].
        scale: (x, y) analysis pixels to one pixel of the vectors' picture.
        crop: (left, top) pixels that cropping took off the vectors' picture.
    """
    _, rows, columns = block.shape
    area = np.zeros(len(source) + 1, np.int32)
    block[:] = -1
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
            for column in range(left, right):
                before = block[which, row, column]
                if before < 0 or area[i] <= area[before]:
                    block[which, row, column] = i


@_compiled()
def _mixed(flat, top, bottom, right, weight_x, weight_y):
    """Bilinear mixture of four pixels in 16-bit arithmetic, rounded; `right` is how far the right ones are."""
    rest_x, rest_y = np.uint16(_ONE - weight_x), np.uint16(_ONE - weight_y)
    upper = np.uint16(rest_x * np.uint16(flat[top]) + weight_x * np.uint16(flat[top + right]))
    lower = np.uint16(rest_x * np.uint16(flat[bottom]) + weight_x * np.uint16(flat[bottom + right]))
    mixed = np.uint16(rest_y * upper + weight_y * lower + np.uint16(_ONE * _ONE // 2))
    return np.uint8(mixed >> np.uint16(8))


@_compiled()
def _average(one, other):
    """Bi-prediction: the mean, halves rounded up (H.264 clause 8.4.2.3.1)."""
    return np.uint8(np.uint16(np.uint16(one) + np.uint16(other) + np.uint16(1)) >> np.uint16(1))


@_compiled()
def _predict_box(flat, shape, slot, dx, dy, box, blend, out):
    """Predict pixels [y0, y1) x [x0, x1) from a slot by one vector, left and right edge repeated.

    Loops have a fixed length and unsigned indices: so they become a few vector instructions each.

    Args:
        flat, out: The pictures and the prediction as one row of pixels.
        shape: (height, width).
        box: (y0, y1, x0, x1).
        blend: Whether to average with what `out` holds.
    """
    (height, width), (y0, y1, x0, x1) = shape, box
    step_x, step_y = math.floor(dx * _ONE + 0.5), math.floor(dy * _ONE + 0.5)
    whole_x, whole_y = step_x >> 4, step_y >> 4
    weight_x, weight_y = np.uint16(step_x & 15), np.uint16(step_y & 15)
    inside = _clamped(-whole_x, x0, x1)
    beyond = _clamped(width - 1 - whole_x, inside, x1)
    one = np.uint64(1)
    for y in range(y0, y1):
        line = y * width
        upper = (slot * height + _clamped(y + whole_y, 0, height - 1)) * width
        lower = (slot * height + _clamped(y + whole_y + 1, 0, height - 1)) * width
        x = x0
        while x < x1:
            to = np.uint64(line + x)
            if x < inside or x + 4 > beyond:
                left, right = _clamped(x + whole_x, 0, width - 1), _clamped(x + whole_x + 1, 0, width - 1)
                top, bottom = np.uint64(upper + left), np.uint64(lower + left)
                value = _mixed(flat, top, bottom, np.uint64(right - left), weight_x, weight_y)
                out[to] = _average(out[to], value) if blend else value
                x += 1
                continue
            top, bottom = np.uint64(upper + x + whole_x), np.uint64(lower + x + whole_x)
            if x + 16 > beyond:
                for i in range(np.uint64(4)):
                    value = _mixed(flat, top + i, bottom + i, one, weight_x, weight_y)
                    out[to + i] = _average(out[to + i], value) if blend else value
                x += 4
            elif not blend and weight_x == 0 and weight_y == 0:
                for i in range(np.uint64(16)):
                    out[to + i] = flat[top + i]
                x += 16
            elif blend:
                for i in range(np.uint64(16)):
                    value = _mixed(flat, top + i, bottom + i, one, weight_x, weight_y)
                    out[to + i] = _average(out[to + i], value)
                x += 16
            else:
                for i in range(np.uint64(16)):
                    out[to + i] = _mixed(flat, top + i, bottom + i, one, weight_x, weight_y)
                x += 16


@_compiled(nb.void(_GRID, _VECTORS, _I4[::1], nb.boolean[::1], _PICTURES, _FRAME, _PLANE))
def predict(block, vectors, slot, wanted, pictures, luma, out):
    """Predict those cells of a frame that a wanted block covers, bilinear, edges repeated, both lists averaged.

    Args:
        wanted: bool [n + 1].
        out: uint8 [height, width], the prediction; the frame itself where there is none.
    """
    _, rows, columns = block.shape
    height, width = luma.shape
    flat, to = pictures.reshape(-1), out.reshape(-1)
    for row in range(rows):
        column = 0
        while column < columns:
            first, second, start = block[0, row, column], block[1, row, column], column
            while column < columns and block[0, row, column] == first and block[1, row, column] == second:
                column += 1
            if not (wanted[first] or wanted[second]):
                continue
            box = (row * STRIDE, min(row * STRIDE + STRIDE, height), start * STRIDE, min(column * STRIDE, width))
            if slot[first] >= 0:
                _predict_box(flat, luma.shape, slot[first], vectors[first, 0], vectors[first, 1], box, False, to)
            if slot[second] >= 0:
                blend = slot[first] >= 0
                _predict_box(flat, luma.shape, slot[second], vectors[second, 0], vectors[second, 1], box, blend, to)
            elif slot[first] < 0:
                for y in range(box[0], box[1]):
                    for x in range(box[2], box[3]):
                        out[y, x] = luma[y, x]


@_compiled(nb.void(_FRAME, _PLANE, nb.int16[:, ::1]))
def subtract(luma, prediction, out):
    """Luma minus prediction, into int16 [height, width]."""
    one, other, to = luma.reshape(-1), prediction.reshape(-1), out.reshape(-1)
    for i in range(np.uint64(one.size)):
        to[i] = np.int16(one[i]) - np.int16(other[i])


@_compiled(nb.void(_FRAME, _PLANE, _F4[:, ::1]))
def cell_errors(luma, prediction, out):
    """Mean absolute difference of each cell's pixels, into float32 [rows, columns]."""
    height, width = luma.shape
    one, other = luma.reshape(-1), prediction.reshape(-1)
    rows, columns = out.shape
    sums = np.empty(columns * STRIDE, np.uint16)
    for row in range(rows):
        sums[:] = 0
        lines = min(STRIDE, height - row * STRIDE)
        for y in range(row * STRIDE, row * STRIDE + lines):
            start = np.uint64(y * width)
            for x in range(np.uint64(width)):
                a, b = one[start + x], other[start + x]
                sums[x] += np.uint16(max(a, b) - min(a, b))
        for column in range(columns):
            total = np.float32(0)
            for i in range(STRIDE):
                total += np.float32(sums[column * STRIDE + i])
            out[row, column] = total / np.float32(lines * min(STRIDE, width - column * STRIDE))


@_compiled(nb.void(_GRID, _F4[:, ::1], nb.float64, _F4[::1]))
def block_excess(block, error, level, out):
    """Sum over the cells of each block of what their errors exceed `level` by, into float32 [n + 1]."""
    out[:] = 0
    for which in range(2):
        for row in range(block.shape[1]):
            for column in range(block.shape[2]):
                out[block[which, row, column]] += error[row, column] - level


@_compiled(nb.void(_GRID, _VECTORS, _I4[::1], _I4[::1], _F4[:, :, :, ::1], _GRID))
def gather(block, vectors, slot, names, field, reference):
    """Fill `field` and `reference` as `codec.types.MotionField` describes them.

    Args:
        names: int32 [slots + 1], the decode index of each slot's picture; the last one is -1.
    """
    for which in range(2):
        for row in range(block.shape[1]):
            for column in range(block.shape[2]):
                number = block[which, row, column]
                used = slot[number] >= 0
                field[which, row, column, 0] = vectors[number, 0] if used else np.float32(0)
                field[which, row, column, 1] = vectors[number, 1] if used else np.float32(0)
                reference[which, row, column] = names[slot[number]]


@_compiled()
def _sample(pictures, slot, x, y, dx, dy):
    """Bilinear sample of a reference picture (dx, dy) away from whole x and y, edges repeated."""
    _, height, width = pictures.shape
    whole_x, whole_y = math.floor(dx), math.floor(dy)
    right, down = np.float32(dx - whole_x), np.float32(dy - whole_y)
    x0, y0 = x + int(whole_x), y + int(whole_y)
    x1, y1 = np.uint64(_clamped(x0 + 1, 0, width - 1)), np.uint64(_clamped(y0 + 1, 0, height - 1))
    x2, y2, z = np.uint64(_clamped(x0, 0, width - 1)), np.uint64(_clamped(y0, 0, height - 1)), np.uint64(slot)
    top_left, top_right = np.float32(pictures[z, y2, x2]), np.float32(pictures[z, y2, x1])
    bottom_left, bottom_right = np.float32(pictures[z, y1, x2]), np.float32(pictures[z, y1, x1])
    top = top_left + (top_right - top_left) * right
    bottom = bottom_left + (bottom_right - bottom_left) * right
    return top + (bottom - top) * down


@_compiled()
def _known(i, block, vectors, lists, corners, slot, pictures, luma, place, known):
    """Look at the samples of block i: fill their places and what is known of them, and say how many are paired.

    Args:
        place: int64 [SAMPLES ** 2, 2], x and y of each.
        known: float32 [SAMPLES ** 2, 2], the frame, and its prediction by the other list; -1 where there is none.
    """
    height, width = luma.shape
    paired = 0
    for k in range(SAMPLES * SAMPLES):
        x = math.floor(corners[i, 0] + corners[i, 2] * ((k % SAMPLES + 0.5) / SAMPLES))
        y = math.floor(corners[i, 1] + corners[i, 3] * ((k // SAMPLES + 0.5) / SAMPLES))
        x, y = _clamped(int(x), 0, width - 1), _clamped(int(y), 0, height - 1)
        place[k, 0], place[k, 1] = x, y
        known[k, 0], known[k, 1] = luma[y, x], -1
        beside = block[1 - lists[i], y // STRIDE, x // STRIDE]
        if slot[beside] >= 0:
            known[k, 1] = _sample(pictures, slot[beside], x, y, vectors[beside, 0], vectors[beside, 1])
            paired += 1
    return paired


@_compiled()
def _error(candidate, dx, dy, enough, pictures, place, known):
    """Mean absolute error of samples predicted from slot `candidate`, or by the other list alone if it is `UNUSED`.

    Once it is as large as `enough` for sure, that is returned.
    """
    enough = np.float32(enough * (SAMPLES * SAMPLES))
    total = np.float32(0)
    for k in range(SAMPLES * SAMPLES):
        value = known[k, 1]
        if candidate != UNUSED:
            own = _sample(pictures, candidate, place[k, 0], place[k, 1], dx, dy)
            value = np.float32(0.5) * (own + value) if value >= 0 else own
        total += abs(value - known[k, 0])
        if total >= enough:
            break
    return total / np.float32(SAMPLES * SAMPLES)


@_compiled(
    nb.void(
        _I4, _I4[::1], _F4[::1], nb.float64, nb.float64,
        _GRID, _VECTORS, _I4[::1], _VECTORS, _I4[::1], _PICTURES, _FRAME,
    )
)  # fmt: skip
def rematch(which, candidates, excess, share, gain, block, vectors, lists, corners, slot, pictures, luma):
    """Give suspect blocks of a list the slot that explains them best, in `slot`, if it does so clearly.

    Args:
        which: The list.
        candidates: Slots, likeliest first.
        excess: float32 [n + 1], above 0 for suspects.
        share, gain: Another guess is clearly better than the first when its error is below this share of the first
            one's, and lower by this many levels.
        lists: int32 [n], each block's list.
        corners: float32 [n, 4], (left, top, width, height) of each block in pixels.
    """
    place, known = np.empty((SAMPLES * SAMPLES, 2), np.int64), np.empty((SAMPLES * SAMPLES, 2), np.float32)
    for i in range(len(lists)):
        if lists[i] != which or excess[i] <= 0:
            continue
        paired = _known(i, block, vectors, lists, corners, slot, pictures, luma, place, known)
        dx, dy = vectors[i, 0], vectors[i, 1]
        first = _error(candidates[0], dx, dy, np.inf, pictures, place, known)
        least = min(share * first, first - gain)
        found = candidates[0]
        for candidate in candidates[1:]:
            error = _error(candidate, dx, dy, least, pictures, place, known)
            if error < least:
                least, found = error, candidate
        # FFmpeg exports a zero vector for a part of a macroblock that does not use the list.
        may_be_unused = paired == SAMPLES * SAMPLES and dx == 0 and dy == 0
        if may_be_unused and _error(UNUSED, dx, dy, least, pictures, place, known) < least:
            found = np.int32(-1)
        if found != candidates[0]:
            slot[i] = found


@_compiled(
    nb.void(
        nb.float64[::1], nb.float64, nb.float64,
        _GRID, _VECTORS, _I4[::1], _VECTORS, _I4[::1], _PICTURES, _FRAME, _VECTORS,
    )
)  # fmt: skip
def unfold(factors, share, gain, block, vectors, lists, corners, slot, pictures, luma, out):
    """Multiply the vertical part of each vector by the factor that explains its block best, if it does so clearly.

    Args:
        factors: To try besides 1.
        share, gain: As in `rematch`.
        lists, corners: As in `rematch`.
        out: float32 [n + 1, 2], a copy of the vectors, in which it does so.
    """
    place, known = np.empty((SAMPLES * SAMPLES, 2), np.int64), np.empty((SAMPLES * SAMPLES, 2), np.float32)
    for i in range(len(lists)):
        if vectors[i, 1] == 0:
            continue
        _known(i, block, vectors, lists, corners, slot, pictures, luma, place, known)
        dx, dy = vectors[i, 0], vectors[i, 1]
        first = _error(slot[i], dx, dy, np.inf, pictures, place, known)
        least = min(share * first, first - gain)
        for factor in factors:
            error = _error(slot[i], dx, dy * factor, least, pictures, place, known)
            if error < least:
                least = error
                out[i, 1] = dy * factor
