"""Select the reference picture, or the scale of the vector, that predicts a few samples of a block best."""

from __future__ import annotations

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
from codec.types import STRIDE

SAMPLES = 4
"""Samples per block and direction, independent of the block size."""

_LEVEL = SUBPIXELS * SUBPIXELS
"""Bilinear samples are integers in units of 1 / _LEVEL of a luma level."""
_ERROR_UNITS = 2 * _LEVEL * SAMPLES * SAMPLES
"""Divides a sum of errors to get their mean in luma levels. Errors count twice, so that means of two stay integers."""

_X, _Y, _LEFT, _RIGHT, _UPPER, _LOWER = range(6)
"""Rows of `axes`: position of the samples along x and y, then the columns and rows of the four pixels around each
sample's prediction."""


@inlined
def _scratch():
    """Buffers `axes`, int64 [6, SAMPLES], and `targets`, int32 [SAMPLES ** 2, 2]."""
    return np.empty((6, SAMPLES), np.int64), np.empty((SAMPLES * SAMPLES, 2), np.int32)


@inlined
def _displace(axes, dx, dy, shape):
    """Fill the pixels around the samples displaced by (dx, dy), edges repeated; returns the bilinear weights (x, y)."""
    height, width = shape
    (whole_x, weight_x), (whole_y, weight_y) = split_subpixels(dx), split_subpixels(dy)
    for k in range(SAMPLES):
        axes[_LEFT, k] = clamp(axes[_X, k] + whole_x, 0, width - 1)
        axes[_RIGHT, k] = clamp(axes[_X, k] + whole_x + 1, 0, width - 1)
        axes[_UPPER, k] = clamp(axes[_Y, k] + whole_y, 0, height - 1) * width
        axes[_LOWER, k] = clamp(axes[_Y, k] + whole_y + 1, 0, height - 1) * width
    return np.int32(weight_x), np.int32(weight_y)


@inlined
def _sample(pictures, start, axes, u, v, weights):
    """Bilinear sample (u, v) of the picture at index `start`, in units of 1 / _LEVEL."""
    x, y = weights
    upper, lower = start + axes[_UPPER, v], start + axes[_LOWER, v]
    left, right = axes[_LEFT, u], axes[_RIGHT, u]
    a, b = np.int32(pictures[np.uint64(upper + left)]), np.int32(pictures[np.uint64(upper + right)])
    c, d = np.int32(pictures[np.uint64(lower + left)]), np.int32(pictures[np.uint64(lower + right)])
    top = np.int32(np.int32(SUBPIXELS) * a + x * np.int32(b - a))
    bottom = np.int32(np.int32(SUBPIXELS) * c + x * np.int32(d - c))
    return np.int32(np.int32(SUBPIXELS) * top + y * np.int32(bottom - top))


@inlined
def _place_samples(i, block_of_cell, vectors, lists, boxes, slots, pictures, luma, axes, targets):
    """Place the samples of block i and compute what its prediction should be at each of them.

    Args:
        axes: Rows _X and _Y are filled; the other rows are overwritten.
        targets: Filled with (target, factor) per sample. The error of a prediction by this block, counted twice and in
            units of 1 / _LEVEL, is |factor * prediction - target|. The factor is 1 if the other list also predicts the
            sample, else 2.

    Returns:
        The mean absolute error when the other list predicts the samples alone, infinite unless it predicts all of them.
    """
    height, width = luma.shape
    for k in range(SAMPLES):
        axes[_X, k] = clamp(int(np.floor(boxes[i, 0] + boxes[i, 2] * ((k + 0.5) / SAMPLES))), 0, width - 1)
        axes[_Y, k] = clamp(int(np.floor(boxes[i, 1] + boxes[i, 3] * ((k + 0.5) / SAMPLES))), 0, height - 1)
    total, bipredicted, last, weights = 0, 0, np.int32(-1), (np.int32(0), np.int32(0))
    for v in range(SAMPLES):
        for u in range(SAMPLES):
            x, y, k = axes[_X, u], axes[_Y, v], v * SAMPLES + u
            own = 2 * _LEVEL * np.int32(luma[y, x])
            targets[k, 0], targets[k, 1] = own, 2
            other_block = block_of_cell[1 - lists[i], y // STRIDE, x // STRIDE]
            if slots[other_block] < 0:
                continue
            if other_block != last:
                weights = _displace(axes, vectors[other_block, 0], vectors[other_block, 1], luma.shape)
                last = other_block
            other = _sample(pictures, slots[other_block] * luma.size, axes, u, v, weights)
            targets[k, 0], targets[k, 1] = own - other, 1
            total += abs(own - 2 * other)
            bipredicted += 1
    return total / _ERROR_UNITS if bipredicted == SAMPLES * SAMPLES else np.inf


@inlined
def _mean_error(slot, weights, limit, pictures, area, axes, targets):
    """Mean absolute error of the samples when predicted from `slot`; infinite once it is known to exceed `limit`.

    Args:
        weights: As returned by `_displace` for the vector.
        pictures: The pictures as uint8 [slots * area].
        area: Pixels per picture.
    """
    total, start = 0, slot * area
    for v in range(SAMPLES):
        for u in range(SAMPLES):
            prediction = _sample(pictures, start, axes, u, v, weights)
            total += abs(prediction * targets[v * SAMPLES + u, 1] - targets[v * SAMPLES + u, 0])
        if total > limit * _ERROR_UNITS:
            return np.inf
    return total / _ERROR_UNITS


@compiled(
    nb.void(
        nb.int32, INT32_1D, FLOAT32_1D, nb.float64, nb.float64,
        INT32_3D, FLOAT32_2D, INT32_1D, FLOAT32_2D, INT32_1D, UINT8_3D, UINT8_2D_READONLY,
    )
)  # fmt: skip
def reselect_references(
    which, candidates, excess, max_ratio, min_drop, block_of_cell, vectors, lists, boxes, slots, pictures, luma
):
    """Change `slots` for blocks of one list that another reference, or the other list alone, predicts clearly better.

    Args:
        which: The prediction list.
        candidates: int32 [references], slots ranked by likelihood. The first is the current choice.
        excess: float32 [blocks + 1], above 0 for the blocks to try.
        max_ratio, min_drop: An alternative is clearly better if its error is below this share of the first choice's
            error and lower by at least this many luma levels.
    """
    (axes, targets), pixels = _scratch(), pictures.reshape(-1)
    for i in range(len(lists)):
        if lists[i] != which or excess[i] <= 0:
            continue
        other_list_error = _place_samples(i, block_of_cell, vectors, lists, boxes, slots, pixels, luma, axes, targets)
        weights = _displace(axes, vectors[i, 0], vectors[i, 1], luma.shape)
        first = _mean_error(candidates[0], weights, np.inf, pixels, luma.size, axes, targets)
        lowest = min(max_ratio * first, first - min_drop)
        best = candidates[0]
        for candidate in candidates[1:]:
            error = _mean_error(candidate, weights, lowest, pixels, luma.size, axes, targets)
            if error < lowest:
                lowest, best = error, candidate
        # FFmpeg exports a zero vector for a part of a macroblock that does not use the list.
        if vectors[i, 0] == 0 and vectors[i, 1] == 0 and other_list_error < lowest:
            best = np.int32(-1)
        if best != candidates[0]:
            slots[i] = best


@compiled(
    nb.void(
        nb.float64[::1], nb.float64, nb.float64,
        INT32_3D, FLOAT32_2D, INT32_1D, FLOAT32_2D, INT32_1D, UINT8_3D, UINT8_2D_READONLY, FLOAT32_2D,
    )
)  # fmt: skip
def scale_field_vectors(factors, max_ratio, min_drop, block_of_cell, vectors, lists, boxes, slots, pictures, luma, out):
    """Scale the vertical component of each vector by the factor that predicts its block best, if it is clearly better.

    Args:
        factors: Factors to try besides 1.
        max_ratio, min_drop: As in `reselect_references`.
        out: float32 [blocks + 1, 2], a copy of the vectors that receives the scaled components.
    """
    (axes, targets), pixels = _scratch(), pictures.reshape(-1)
    for i in range(len(lists)):
        if vectors[i, 1] == 0:
            continue
        _place_samples(i, block_of_cell, vectors, lists, boxes, slots, pixels, luma, axes, targets)
        weights = _displace(axes, vectors[i, 0], vectors[i, 1], luma.shape)
        first = _mean_error(slots[i], weights, np.inf, pixels, luma.size, axes, targets)
        lowest = min(max_ratio * first, first - min_drop)
        for factor in factors:
            weights = _displace(axes, vectors[i, 0], vectors[i, 1] * factor, luma.shape)
            error = _mean_error(slots[i], weights, lowest, pixels, luma.size, axes, targets)
            if error < lowest:
                lowest = error
                out[i, 1] = vectors[i, 1] * factor
