"""Memory read on a CPU: affinities in blocks that fit the cache, top-k in compiled kernels.

It equals `read_top_k` of `l2_affinity`, except that bfloat16 affinities only select positions; exact distances weigh
them. Positions are rows instead of columns, since whole positions are fetched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BLOCK = 1 << 21
"""Affinities per block: 4 or 8 MB."""


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
    rows = out.numpy()

    def read(affinity: Tensor, whole: slice) -> None:
        topk_kernels_float32.read(affinity.numpy(), values, k, rows[whole])

    _in_blocks(with_norms, with_ones, read)
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

    def read(affinity: Tensor, whole: slice) -> None:
        topk_kernels.read(_bits(affinity), keys, queries[whole], values, scale, k, bits[whole])

    _in_blocks(centred_keys, centred_queries, read)
    return out


def _in_blocks(keys: Tensor, queries: Tensor, read: Callable[[Tensor, slice], None]) -> None:
    """Let threads read parts of the affinities of queries [M, C] to keys [N, C], and their queries' slice of M."""
    rows, positions, threads = len(queries), len(keys), torch.get_num_threads()
    size = min(rows, max(1, _BLOCK // positions))
    affinity = keys.new_empty(size, positions)

    def read_part(start: int, first: int, last: int) -> None:
        read(affinity[first:last], slice(start + first, start + last))

    for start in range(0, rows, size):
        count = min(size, rows - start)
        torch.mm(queries[start : start + count], keys.t(), out=affinity[:count])
        part = -(-count // threads)
        others = [
            _pool(threads).submit(read_part, start, first, min(first + part, count))
            for first in range(part, count, part)
        ]
        read_part(start, 0, min(part, count))  # this thread reads the first part
        for other in others:
            other.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """A pool that outlives the call: starting threads takes as long as a small read."""
    return ThreadPoolExecutor(threads, "keymask-read")


def _bits(rows: Tensor) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Memory of a bfloat16 tensor as int16, since NumPy has no bfloat16."""
    bits: np.ndarray[Any, np.dtype[np.int16]] = rows.contiguous().view(torch.int16).numpy()
    return bits
