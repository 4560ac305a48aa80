"""Loops of the memory read over bfloat16 rows, compiled by numba (pure but for the arrays they fill).

NumPy has no bfloat16: its bits come as int16, and the upper half of a float32's bits is what they are. Everything is
compiled for its one signature when this module is first imported and kept in numba's cache, so it is imported late.

Common arguments, N memory positions, M query positions, C channels:
    key: int16 [N, C], bfloat16 keys, one position a row.
    query: int16 [M, C], the same of the queries.
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
"""Sums in any order, so that they go many numbers at a time."""
_LOWEST = np.int16(-32768)


def _compiled(*signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile for one signature, and keep the result where there is any folder to keep it in."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled: Any = partial(numba.njit, *signature, nogil=True, error_model="numpy", **options)
        try:
            return compiled(cache=True)(function)
        except RuntimeError:  # no folder can be written
            return compiled()(function)

    return decorate


@_compiled(inline="always")
def _number(bits):
    """The float32 of bfloat16 bits."""
    return np.uint32(np.uint32(np.uint16(bits)) << np.uint32(16)).view(np.float32)


@_compiled(inline="always")
def _rounded(number):
    """The bfloat16 bits nearest to a finite float32, ties to even."""
    bits = np.float32(number).view(np.uint32)
    half = np.uint32(0x7FFF) + np.uint32((bits >> np.uint32(16)) & np.uint32(1))
    return np.int16(np.uint32(bits + half) >> np.uint32(16))


@_compiled(inline="always")
def _rank(bits):
    """An int16 that orders as the bfloat16 does."""
    return np.int16(bits ^ ((bits >> np.int16(15)) & np.int16(0x7FFF)))


@_compiled(nb.void(_READ_BITS, _F4[::1], _F4, _BITS), fastmath=_FAST)
def centre_keys(key, centre, scale, out):
    """Keys minus their centre, with -|key|^2 * scale in two more channels, coarse part and rest: [N, C + 2]."""
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
    """2 * scale * (queries minus the keys' centre), and 1 in two more channels: [M, C + 2]."""
    positions, channels = query.shape
    for m in range(positions):
        for c in range(channels):
            out[m, c] = _rounded((_number(query[m, c]) - centre[c]) * (2 * scale))
        out[m, channels] = out[m, channels + 1] = _rounded(np.float32(1))


@_compiled()
def _threshold(ranks, k):
    """The k-th largest of the ranks, by bisection: counting goes many ranks at a time, and needs no branches."""
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
    """Places of the ranks that reach a threshold, and how many there are."""
    held = 0
    for n in range(len(ranks)):
        places[held] = n
        held += ranks[n] >= threshold
    return held


@_compiled()
def _nearest(row, k, leaders, groups, ranks, members, places):
    """Places of the k largest affinities of a row.

    Each lies in one of as many groups with the largest maxima: group g holds positions g, g + len(leaders), ...
    """
    positions, step = len(row), len(leaders)
    leaders[:] = _LOWEST
    for start in range(0, positions, step):
        part = row[start : min(start + step, positions)]
        for g in range(len(part)):
            leaders[g] = max(leaders[g], _rank(part[g]))
    least = _threshold(leaders, k)
    held = 0
    for i in range(_at_least(leaders, least, groups)):
        n = groups[i]
        while n < positions:
            rank = _rank(row[n])
            ranks[held], members[held] = rank, n
            held += rank >= least
            n += step
    least = _threshold(ranks[:held], k)
    taken = 0
    for i in range(held):
        places[taken] = members[i]
        taken += ranks[i] > least
    for i in range(held):
        if taken < k and ranks[i] == least:
            places[taken] = members[i]
            taken += 1


@_compiled(fastmath=_FAST)
def _weigh(key, query, scale, places, weights):
    """Softmax over minus the scaled squared distances between a query [C] and the keys at some places."""
    highest, mass = np.float32(-np.inf), np.float32(0)
    for i in range(len(weights)):
        near, distance = key[places[i]], np.float32(0)
        for c in range(len(near)):
            difference = _number(near[c]) - _number(query[c])
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
    """Softmax over each query's k nearest keys, and the values read with it.

    Args:
        affinity: int16 [M, N], rough ones in bfloat16, which choose the k; exact ones weigh them.
        key, query: As above.
        value: int16 [N, Cv].
        scale: Affinity is minus the squared distance times this.
        k: At most N.
        out: int16 [M, Cv], the result.
    """
    queries, positions = affinity.shape
    channels = value.shape[1]
    # Somewhat fewer members a group than groups for each of the k: members are looked at one by one.
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
