"""Which picture, or which multiple of its vector, explains a block best, judged by a few samples of it."""

from __future__ import annotations

import numpy as np
from numba import types as nb

from codec.jit import compiled
from codec.kernels.common import FRAME, GRID, NUMBERS, PICTURES, VECTORS, WHOLE, clamped, inlined, placed
from codec.types import STRIDE

SAMPLES = 4
"""A block is judged by this many samples in each direction, whatever its size."""


_LEVEL = WHOLE * WHOLE
"""Samples are counted in 1 / _LEVEL of a level, in which their bilinear mixture is a whole number."""
_ERRORS = 2 * _LEVEL * SAMPLES * SAMPLES
"""What a sum of errors is divided by for their mean in levels: each is counted twice."""
_X, _Y, _LEFT, _RIGHT, _UPPER, _LOWER = range(6)
"""Rows of `axes`: samples' places in pixels along each axis, and what four pixels of a picture they are mixed of."""


@inlined
def _scratch():
    """Room for `axes`, int64 [6, SAMPLES], and `known`, int32 [SAMPLES ** 2, 2]."""
    return np.empty((6, SAMPLES), np.int64), np.empty((SAMPLES * SAMPLES, 2), np.int32)


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
    return np.int32(weight_x), np.int32(weight_y)


@inlined
def _mixture(pictures, start, axes, u, v, weights):
    """Sample (u, v) of the picture that starts at `start`, in 1 / _LEVEL."""
    x, y = weights
    upper, lower = start + axes[_UPPER, v], start + axes[_LOWER, v]
    left, right = axes[_LEFT, u], axes[_RIGHT, u]
    a, b = np.int32(pictures[np.uint64(upper + left)]), np.int32(pictures[np.uint64(upper + right)])
    c, d = np.int32(pictures[np.uint64(lower + left)]), np.int32(pictures[np.uint64(lower + right)])
    top, bottom = (
        np.int32(np.int32(WHOLE) * a + x * np.int32(b - a)),
        np.int32(np.int32(WHOLE) * c + x * np.int32(d - c)),
    )
    return np.int32(np.int32(WHOLE) * top + y * np.int32(bottom - top))


@inlined
def _look(i, block, vectors, lists, corners, slot, pictures, luma, axes, known):
    """Look at the samples of block i: fill their places and what is known of them.

    Args:
        axes: See `_X`; only the first two rows are filled.
        known: In 1 / _LEVEL, what a sample's prediction by this block has to be, after multiplication by the second
            number: 1 where the other list predicts it too, 2 elsewhere. Errors count twice for it.

    Returns:
        The mean absolute error of samples predicted by the other list alone; infinite if it does not predict all.
    """
    height, width = luma.shape
    for k in range(SAMPLES):
        axes[_X, k] = clamped(int(np.floor(corners[i, 0] + corners[i, 2] * ((k + 0.5) / SAMPLES))), 0, width - 1)
        axes[_Y, k] = clamped(int(np.floor(corners[i, 1] + corners[i, 3] * ((k + 0.5) / SAMPLES))), 0, height - 1)
    total, paired, last, weights = 0, 0, np.int32(-1), (np.int32(0), np.int32(0))
    for v in range(SAMPLES):
        for u in range(SAMPLES):
            x, y, k = axes[_X, u], axes[_Y, v], v * SAMPLES + u
            own = 2 * _LEVEL * np.int32(luma[y, x])
            known[k, 0], known[k, 1] = own, 2
            beside = block[1 - lists[i], y // STRIDE, x // STRIDE]
            if slot[beside] < 0:
                continue
            if beside != last:
                weights, last = _aim(axes, vectors[beside, 0], vectors[beside, 1], luma.shape), beside
            other = _mixture(pictures, slot[beside] * luma.size, axes, u, v, weights)
            known[k, 0], known[k, 1] = own - other, 1
            total += abs(own - 2 * other)
            paired += 1
    return total / _ERRORS if paired == SAMPLES * SAMPLES else np.inf


@inlined
def _error(candidate, weights, enough, pictures, area, axes, known):
    """Mean absolute error of samples predicted from slot `candidate`; once it is above `enough` for sure, infinite.

    Args:
        weights: What `_aim` returned for the vector.
        pictures: The pictures as one row of pixels, each of `area` pixels.
    """
    total, start = 0, candidate * area
    for v in range(SAMPLES):
        for u in range(SAMPLES):
            guess = _mixture(pictures, start, axes, u, v, weights)
            total += abs(guess * known[v * SAMPLES + u, 1] - known[v * SAMPLES + u, 0])
        if total > enough * _ERRORS:
            return np.inf
    return total / _ERRORS


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
        unpaired = _look(i, block, vectors, lists, corners, slot, pixels, luma, axes, known)
        weights = _aim(axes, vectors[i, 0], vectors[i, 1], luma.shape)
        first = _error(candidates[0], weights, np.inf, pixels, luma.size, axes, known)
        least = min(share * first, first - gain)
        found = candidates[0]
        for candidate in candidates[1:]:
            error = _error(candidate, weights, least, pixels, luma.size, axes, known)
            if error < least:
                least, found = error, candidate
        # FFmpeg exports a zero vector for a part of a macroblock that does not use the list.
        if vectors[i, 0] == 0 and vectors[i, 1] == 0 and unpaired < least:
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
