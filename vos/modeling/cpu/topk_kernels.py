"""Kernels of the memory read over bfloat16 rows, compiled by numba (pure but for the arrays they fill).

NumPy has no bfloat16, so its bits, the upper half of a float32, are passed as int16. The first import of this module
compiles every kernel for its one signature and keeps it in numba's cache; therefore it is imported late.

Common arguments, with N memory positions, M query positions and C channels:
    key: int16 [N, C], bfloat16 keys, one row per position.
    query: int16 [M, C], bfloat16 queries, one row per position.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numba import types as nb

_BITS = nb.int16[:, ::1]
_READ_BITS = nb.Array(nb.int16, 2, "C", readonly=True)
_F4 = nb.float32
_FAST = {"reassoc", "contract", "nsz"}
"""Allows sums in any order, which SIMD instructions need."""
_LOWEST = np.int16(-32768)


def _compiled(*signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile for one signature, cached if a cache folder can be written."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled: Any = partial(numba.njit, *signature, nogil=True, error_model="numpy", **options)
        try:
            return compiled(cache=True)(function)
        except RuntimeError:  # no cache folder can be written
            return compiled()(function)

    return decorate


@_compiled(inline="always")
def _number(bits):
    """Bfloat16 bits -> float32."""
    return np.uint32(np.uint32(np.uint16(bits)) << np.uint32(16)).view(np.float32)


@_compiled(inline="always")
def _rounded(number):
    """Finite float32 -> nearest bfloat16 bits, ties to even."""
    bits = np.float32(number).view(np.uint32)
    half = np.uint32(0x7FFF) + np.uint32((bits >> np.uint32(16)) & np.uint32(1))
    return np.int16(np.uint32(bits + half) >> np.uint32(16))


@_compiled(inline="always")
def _rank(bits):
    """Bfloat16 bits -> int16 with the same order."""
    return np.int16(bits ^ ((bits >> np.int16(15)) & np.int16(0x7FFF)))


@_compiled(nb.void(_READ_BITS, _F4[::1], _F4, _BITS), fastmath=_FAST)
def centre_keys(key, centre, scale, out):
    """Keys minus their centre, and -|key|^2 * scale in two more channels, coarse part and rest: [N, C + 2]."""
    positions, channels = key.shape
    for n in range(positions):
        norm = np.float32(0)
        for c in range(channels):
            bits = _rounded(_number(key[n, c]) - centre[c])
            out[n, c] = bits
            norm += _number(bits) * _number(bits)
        norm *= -scale
        coarse = _rounded(norm)
        out[n, channels] = coarse
        out[n, channels + 1] = _rounded(norm - _number(coarse))


@_compiled(nb.void(_READ_BITS, _F4[::1], _F4, _BITS))
def centre_queries(query, centre, scale, out):
    """2 * scale * (queries minus the centre of the keys), and 1 in two more channels: [M, C + 2]."""
    positions, channels = query.shape
    for m in range(positions):
        for c in range(channels):
            out[m, c] = _rounded((_number(query[m, c]) - centre[c]) * (2 * scale))
        out[m, channels] = out[m, channels + 1] = _rounded(np.float32(1))


@_compiled()
def _threshold(ranks, k):
    """The k-th largest rank, by bisection: counting uses SIMD and needs no branches."""
    low, high = -32768, 32767
    while low < high:
        middle = (low + high + 1) >> 1
        count = np.int32(0)
        for n in range(len(ranks)):
            count += np.int32(ranks[n] >= np.int16(middle))
        if count >= k:
            low = middle
        else:
            high = middle - 1
    return np.int16(low)


@_compiled()
def _at_least(ranks, threshold, places):
    """Fill `places` with the indices of the ranks that reach a threshold; return their number."""
    count = 0
    for n in range(len(ranks)):
        places[count] = n
        count += ranks[n] >= threshold
    return count


@_compiled()
def _nearest(row, k, leaders, groups, ranks, members, places):
    """Fill `places` with the positions of the k largest affinities of a row.

    They lie in the k groups with the largest maxima; group g holds positions g, g + len(leaders), ...
    """
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


@_compiled(fastmath=_FAST)
def _weigh(key, query, scale, places, weights):
    """Fill `weights` with the softmax of -scale * squared distance between a query [C] and the keys at `places`."""
    highest, mass = np.float32(-np.inf), np.float32(0)
    for i in range(len(weights)):
        row, distance = key[places[i]], np.float32(0)
        for c in range(len(row)):
            difference = _number(row[c]) - _number(query[c])
            distance += difference * difference
        weights[i] = -distance * scale
        highest = max(highest, weights[i])
    for i in range(len(weights)):
        weights[i] = np.exp(weights[i] - highest)
        mass += weights[i]
    for i in range(len(weights)):
        weights[i] /= mass


@_compiled(
    nb.void(_READ_BITS, _READ_BITS, _READ_BITS, _READ_BITS, _F4, nb.int64, _BITS),
    fastmath=_FAST,
)
def read(affinity, key, query, value, scale, k, out):
    """Read the values at the k nearest keys of each query, weighed by the softmax of -scale * squared distance.

    Args:
        affinity: Rough bfloat16 affinities int16 [M, N]; they select positions, exact distances weigh them.
        key, query: See the module.
        value: Bfloat16 values int16 [N, Cv].
        scale: Factor of the squared distance.
        k: Positions to read, at most N.
        out: Result, bfloat16 as int16 [M, Cv].
    """
    queries, positions = affinity.shape
    channels = value.shape[1]
    # Groups somewhat smaller than sqrt(N / k): their members are compared one by one.
    step = -(-positions // max(1, int(np.sqrt(positions / (2 * k)))))
    leaders, groups = np.empty(step, np.int16), np.empty(step + 1, np.int64)
    ranks, members = np.empty(positions + 1, np.int16), np.empty(positions + 1, np.int64)
    places, weights, total = np.empty(k + 1, np.int64), np.empty(k, np.float32), np.empty(channels, np.float32)
    for m in range(queries):
        _nearest(affinity[m], k, leaders, groups, ranks, members, places)
        _weigh(key, query[m], scale, places, weights)
        total[:] = 0
        for i in range(k):
            weight, row = weights[i], value[places[i]]
            for c in range(channels):
                total[c] += weight * _number(row[c])
        for c in range(channels):
            out[m, c] = _rounded(total[c])
