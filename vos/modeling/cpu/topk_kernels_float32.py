"""Kernels of the memory read over float32 rows, compiled by numba on the first import; see `topk_kernels`."""

from __future__ import annotations

import numpy as np
from numba import types as nb

from vos.modeling.cpu.topk_kernels import _FAST, _at_least, _compiled

_READ_F4 = nb.Array(nb.float32, 2, "C", readonly=True)
_LOWEST = np.int32(-(2**31))


@_compiled(inline="always")
def _rank(number):
    """Float32 -> int32 with the same order."""
    bits = np.float32(number).view(np.int32)
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@_compiled()
def _threshold(ranks, k):
    """The k-th largest rank, by bisection: counting uses SIMD and needs no branches."""
    low, high = np.int64(-(2**31)), np.int64(2**31 - 1)
    while low < high:
        middle = (low + high + 1) >> 1
        limit, count = np.int32(middle), np.int32(0)
        for n in range(len(ranks)):
            count += np.int32(ranks[n] >= limit)
        if count >= k:
            low = middle
        else:
            high = middle - 1
    return np.int32(low)


@_compiled()
def _largest(row, k, leaders, groups, ranks, members, places):
    """Fill `places` with the positions of the k largest affinities of a row, as `topk_kernels._nearest` does."""
    positions, step = len(row), len(leaders)
    leaders[:] = _LOWEST
    for start in range(0, positions, step):
        part = row[start : min(start + step, positions)]
        for g in range(len(part)):
            leaders[g] = max(leaders[g], _rank(part[g]))
    least = _threshold(leaders, k)
    candidates = 0
    for i in range(_at_least(leaders, least, groups)):
        n = groups[i]
        while n < positions:
            rank = _rank(row[n])
            ranks[candidates], members[candidates] = rank, n
            candidates += rank >= least
            n += step
    least = _threshold(ranks[:candidates], k)
    chosen = 0
    for i in range(candidates):
        places[chosen] = members[i]
        chosen += ranks[i] > least
    for i in range(candidates):
        if chosen < k and ranks[i] == least:
            places[chosen] = members[i]
            chosen += 1


@_compiled(nb.void(_READ_F4, _READ_F4, nb.int64, nb.float32[:, ::1]), fastmath=_FAST)
def read(affinity, value, k, out):
    """Read the values at the k largest affinities of each query, weighed by their softmax.

    Args:
        affinity: Affinities float32 [M, N].
        value: Values float32 [N, Cv].
        k: Positions to read, at most N.
        out: Result, float32 [M, Cv].
    """
    queries, positions = affinity.shape
    channels = value.shape[1]
    step = -(-positions // max(1, int(np.sqrt(positions / (2 * k)))))
    leaders, groups = np.empty(step, np.int32), np.empty(step + 1, np.int64)
    ranks, members = np.empty(positions + 1, np.int32), np.empty(positions + 1, np.int64)
    places, weights = np.empty(k + 1, np.int64), np.empty(k, np.float32)
    for m in range(queries):
        row, total = affinity[m], out[m]
        _largest(row, k, leaders, groups, ranks, members, places)
        highest, mass = np.float32(-np.inf), np.float32(0)
        for i in range(k):
            weights[i] = row[places[i]]
            highest = max(highest, weights[i])
        for i in range(k):
            weights[i] = np.exp(weights[i] - highest)
            mass += weights[i]
        total[:] = 0
        for i in range(k):
            weight, taken = weights[i] / mass, value[places[i]]
            for c in range(channels):
                total[c] += weight * taken[c]
