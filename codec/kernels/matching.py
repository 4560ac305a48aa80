"""Which picture, or which multiple of its vector, explains a block best, judged by a few samples of it."""

from __future__ import annotations

import numpy as np
from numba import types as nb

from codec.compiling import compiled
from codec.kernels.common import FRAME, GRID, NUMBERS, PICTURES, VECTORS, WHOLE, clamped, inlined, placed
from codec.types import STRIDE

SAMPLES = 4
"""A block is judged by this many samples in each direction, whatever its size."""
UNUSED = -2
"""Instead of a slot: the block predicts nothing, the other list does alone."""


_LEVEL = WHOLE * WHOLE
"""Samples are counted in 1 / _LEVEL of a level, in which their bilinear mixture is a whole number."""
_X, _Y, _LEFT, _RIGHT, _UPPER, _LOWER = range(6)
"""Rows of `axes`: samples' places in pixels along each axis, and what four pixels of a picture they are mixed of."""


@inlined
def _scratch():
    """Room for `axes`, int64 [6, SAMPLES], and `known`, int64 [SAMPLES ** 2, 2]."""
    return np.empty((6, SAMPLES), np.int64), np.empty((SAMPLES * SAMPLES, 2), np.int64)


@inlined
def _aim(axes, dx, dy, shape):
    """Fill which pixels the samples, moved by (dx, dy), are mixed of, edges repeated; returns the weights (x, y)."""
    height, width = shape
    (whole_x, weight_x), (whole_y, weight_y) = placed(dx), placed(dy)
    for k in range(SAMPLES):
        axes[_LEFT, k] = clamped(axes[_X, k] + whole_x, 0, width - 1)
        axes[_RIGHT, k] = clamped(axes[_X, k] + whole_x + 1, 0, width - 1)
        axes[_UPPER, k] = clamped(axes[_Y, k] + whole_y, 0, height - 1) * width
        axes[_LOWER, k] = clamped(axes[_Y, k] + whole_y + 1, 0, height - 1) * width
    return weight_x, weight_y


@inlined
def _mixture(pictures, start, axes, u, v, weights):
    """Sample (u, v) of the picture that starts at `start`, in 1 / _LEVEL."""
    x, y = weights
    upper, lower = start + axes[_UPPER, v], start + axes[_LOWER, v]
    left, right = axes[_LEFT, u], axes[_RIGHT, u]
    top = (WHOLE - x) * pictures[np.uint64(upper + left)] + x * pictures[np.uint64(upper + right)]
    bottom = (WHOLE - x) * pictures[np.uint64(lower + left)] + x * pictures[np.uint64(lower + right)]
    return (WHOLE - y) * top + y * bottom


@compiled()
def _look(i, block, vectors, lists, corners, slot, pictures, luma, axes, known):
    """Look at the samples of block i: fill their places and what is known of them, and say how many are paired.

    Args:
        axes: See `_X`; only the first two rows are filled.
        known: The frame, and its prediction by the other list, in 1 / _LEVEL; -1 where there is none.
    """
    height, width = luma.shape
    for k in range(SAMPLES):
        axes[_X, k] = clamped(int(np.floor(corners[i, 0] + corners[i, 2] * ((k + 0.5) / SAMPLES))), 0, width - 1)
        axes[_Y, k] = clamped(int(np.floor(corners[i, 1] + corners[i, 3] * ((k + 0.5) / SAMPLES))), 0, height - 1)
    paired, last, weights = 0, np.int32(-1), (0, 0)
    for v in range(SAMPLES):
        for u in range(SAMPLES):
            x, y, k = axes[_X, u], axes[_Y, v], v * SAMPLES + u
            known[k, 0], known[k, 1] = luma[y, x] * _LEVEL, -1
            beside = block[1 - lists[i], y // STRIDE, x // STRIDE]
            if slot[beside] < 0:
                continue
            if beside != last:
                weights, last = _aim(axes, vectors[beside, 0], vectors[beside, 1], luma.shape), beside
            known[k, 1] = _mixture(pictures, slot[beside] * luma.size, axes, u, v, weights)
            paired += 1
    return paired


@compiled()
def _error(candidate, weights, enough, pictures, area, axes, known):
    """Mean absolute error of samples predicted from slot `candidate`, or by the other list alone if it is `UNUSED`.

    Once it is as large as `enough` for sure, that or more is returned.

    Args:
        weights: What `_aim` returned for the vector.
        pictures: The pictures as one row of pixels, each of `area` pixels.
    """
    scale = 2 * _LEVEL * SAMPLES * SAMPLES
    total = 0
    for v in range(SAMPLES):
        for u in range(SAMPLES):
            own, other = known[v * SAMPLES + u, 0], known[v * SAMPLES + u, 1]
            if candidate == UNUSED:
                guess = 2 * other
            else:
                guess = _mixture(pictures, candidate * area, axes, u, v, weights)
                guess += other if other >= 0 else guess
            total += abs(guess - 2 * own)
        if total >= enough * scale:
            break
    return total / scale


@compiled(
    nb.void(
        nb.int32, NUMBERS, nb.float32[::1], nb.float64, nb.float64,
        GRID, VECTORS, NUMBERS, VECTORS, NUMBERS, PICTURES, FRAME,
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
    """
    (axes, known), pixels = _scratch(), pictures.reshape(-1)
    for i in range(len(lists)):
        if lists[i] != which or excess[i] <= 0:
            continue
        paired = _look(i, block, vectors, lists, corners, slot, pixels, luma, axes, known)
        weights = _aim(axes, vectors[i, 0], vectors[i, 1], luma.shape)
        first = _error(candidates[0], weights, np.inf, pixels, luma.size, axes, known)
        least = min(share * first, first - gain)
        found = candidates[0]
        for candidate in candidates[1:]:
            error = _error(candidate, weights, least, pixels, luma.size, axes, known)
            if error < least:
                least, found = error, candidate
        # FFmpeg exports a zero vector for a part of a macroblock that does not use the list.
        may_be_unused = paired == SAMPLES * SAMPLES and vectors[i, 0] == 0 and vectors[i, 1] == 0
        if may_be_unused and _error(UNUSED, weights, least, pixels, luma.size, axes, known) < least:
            found = np.int32(-1)
        if found != candidates[0]:
            slot[i] = found


@compiled(
    nb.void(
        nb.float64[::1], nb.float64, nb.float64,
        GRID, VECTORS, NUMBERS, VECTORS, NUMBERS, PICTURES, FRAME, VECTORS,
    )
)  # fmt: skip
def unfold(factors, share, gain, block, vectors, lists, corners, slot, pictures, luma, out):
    """Multiply the vertical part of each vector by the factor that explains its block best, if it does so clearly.

    Args:
        factors: To try besides 1.
        share, gain: As in `rematch`.
        out: float32 [n + 1, 2], a copy of the vectors, in which it does so.
    """
    (axes, known), pixels = _scratch(), pictures.reshape(-1)
    for i in range(len(lists)):
        if vectors[i, 1] == 0:
            continue
        _look(i, block, vectors, lists, corners, slot, pixels, luma, axes, known)
        weights = _aim(axes, vectors[i, 0], vectors[i, 1], luma.shape)
        first = _error(slot[i], weights, np.inf, pixels, luma.size, axes, known)
        least = min(share * first, first - gain)
        for factor in factors:
            weights = _aim(axes, vectors[i, 0], vectors[i, 1] * factor, luma.shape)
            error = _error(slot[i], weights, least, pixels, luma.size, axes, known)
            if error < least:
                least = error
                out[i, 1] = vectors[i, 1] * factor
