"""Memory read on a CPU: affinities in blocks that fit the cache, top-k in compiled kernels.

It equals `read_top_k` of `l2_affinity`, except that bfloat16 affinities only select positions; exact distances weigh
them. Positions are rows instead of columns, since whole positions are fetched.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BLOCK = 1 << 21
"""Bfloat16 affinities per block: 4 MB."""
_FLOAT32_BLOCK = 1 << 18
"""Float32 affinities per block, of which each thread has one: 1 MB, which stays in the cache. With 8 MB, products take
three times as long on an AMD EPYC."""


def can_read_rows(key: Tensor, query: Tensor) -> bool:
    """Whether `read_rows` supports key [B, Ck, N], query [B, Ck, M]: on a CPU, one picture, no gradients."""
    trained = torch.is_grad_enabled() and (key.requires_grad or query.requires_grad)
    is_number = key.dtype in (torch.bfloat16, torch.float32) and key.dtype == query.dtype
    return key.device.type == "cpu" and is_number and key.shape[0] == 1 and not trained


def compile_kernels() -> None:
    """Compile the kernels, or load them from the cache, ahead of a run that would pause for it and ignore a Ctrl-C."""
    from vos.modeling.cpu import topk_kernels_float32  # noqa: F401, PLC0415  (compiles both on its first import)


def read_rows(key: Tensor, value: Tensor, query: Tensor, k: int) -> Tensor:
    """Read memory at the k nearest keys of each query, weighed by the softmax of -distance^2 / sqrt(Ck).

    Args:
        key: bfloat16 or float32 [N, Ck].
        value: [N, Cv], of the same type, like the others.
        query: [M, Ck].
        k: Positions to read per query; all if there are fewer.

    Returns:
        [M, Cv].
    """
    k = min(k, len(key))
    return _read_bfloat16(key, value, query, k) if key.dtype == torch.bfloat16 else _read_float32(key, value, query, k)


def _read_float32(key: Tensor, value: Tensor, query: Tensor, k: int) -> Tensor:
    from vos.modeling.cpu import topk_kernels_float32  # noqa: PLC0415  (compiles on its first import)

    scale = 1 / math.sqrt(key.shape[1])
    # Distances do not change if keys and queries are shifted alike, but numbers near zero are resolved better.
    centre = key.mean(dim=0)
    centred = key - centre
    with_norms = torch.cat([centred, centred.square().sum(dim=1, keepdim=True) * -scale], dim=1)
    with_ones = torch.cat([(query - centre) * (2 * scale), query.new_ones(len(query), 1)], dim=1)
    values, out = value.contiguous().numpy(), value.new_empty(len(query), value.shape[1])
    size = max(1, _FLOAT32_BLOCK // len(key))
    starts = range(0, len(query), size)
    threads = min(torch.get_num_threads(), len(starts))

    def read_blocks(first: int) -> None:
        block = key.new_empty(size, len(key))
        for start in starts[first::threads]:
            queries = with_ones[start : start + size]
            affinity = torch.mm(queries, with_norms.t(), out=block[: len(queries)])
            topk_kernels_float32.read(affinity.numpy(), values, k, out[start : start + size].numpy())

    if threads == 1:
        read_blocks(0)
    else:
        list(_pool(torch.get_num_threads()).map(read_blocks, range(threads)))
    return out


def _read_bfloat16(key: Tensor, value: Tensor, query: Tensor, k: int) -> Tensor:
    from vos.modeling.cpu import topk_kernels  # noqa: PLC0415  (compiles on its first import)

    keys, values, queries = (_bits(x) for x in (key, value, query))
    (positions, channels), rows = key.shape, len(query)
    scale = np.float32(1 / math.sqrt(channels))
    centred_keys, centred_queries = key.new_empty(positions, channels + 2), key.new_empty(rows, channels + 2)
    # Distances do not change if keys and queries are shifted alike, but bfloat16 resolves numbers near zero better.
    centre = key.mean(dim=0, dtype=torch.float32).numpy()
    topk_kernels.centre_keys(keys, centre, scale, _bits(centred_keys))
    topk_kernels.centre_queries(queries, centre, scale, _bits(centred_queries))

    out = value.new_empty(rows, value.shape[1])
    bits = _bits(out)
    size = min(rows, max(1, _BLOCK // positions))
    affinity = key.new_empty(size, positions)
    block = _bits(affinity)
    threads = torch.get_num_threads()

    def read_part(start: int, first: int, last: int) -> None:
        whole = slice(start + first, start + last)
        topk_kernels.read(block[first:last], keys, queries[whole], values, scale, k, bits[whole])

    for start in range(0, rows, size):
        count = min(size, rows - start)
        torch.mm(centred_queries[start : start + count], centred_keys.t(), out=affinity[:count])
        part = -(-count // threads)
        others = [
            _pool(threads).submit(read_part, start, first, min(first + part, count))
            for first in range(part, count, part)
        ]
        read_part(start, 0, part)  # this thread reads the first part
        for other in others:
            other.result()
    return out


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """A pool that outlives the call: starting threads takes as long as a small read. In it, torch uses one thread."""
    pool, started, own = ThreadPoolExecutor(threads, "keymask-read"), Barrier(threads), torch.get_num_threads()

    def prepare(_: int) -> None:
        torch.get_num_threads()  # otherwise the first operation here resets the number
        torch.set_num_threads(1)
        started.wait()

    list(pool.map(prepare, range(threads)))
    torch.set_num_threads(own)  # the latest call also sets the number that future threads start with
    return pool


def _bits(rows: Tensor) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Memory of a bfloat16 tensor as int16, since NumPy has no bfloat16."""
    bits: np.ndarray[Any, np.dtype[np.int16]] = rows.contiguous().view(torch.int16).numpy()
    return bits
