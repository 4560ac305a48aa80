"""Space-time memory read with top-k filtering (pure functions).

Sources: STM (Oh et al., ICCV 2019, section 3.3) for the read, MiVOS (Cheng et al., CVPR 2021, section 3.3) for top-k
filtering before the softmax, STCN (Cheng et al., NeurIPS 2021, section 4.2) for the negative squared L2 affinity.

Shapes: Kk keys (K or 1), K objects, Ck key channels, Cv value channels, N memory positions, M query positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vos.modeling.cpu.topk_read import can_read_rows, read_rows
from vos.modeling.network import Memory


def read_memory(memory: Memory, query: Tensor, top_k: int) -> Tensor:
    """Read memory by L2 affinity: key [B, Ck, N], value [B*K, Cv, N], query [B, Ck, M] -> readout [B*K, Cv, M]."""
    if can_read_rows(memory.key, query):
        rows = memory.value.permute(2, 0, 1).flatten(1)
        readout = read_rows(memory.key[0].t(), rows, query[0].t(), top_k)
        return readout.view(-1, *memory.value.shape[:2]).permute(1, 2, 0)
    # Distances do not change if keys and query are shifted alike, but bfloat16 resolves numbers near zero better.
    centre = memory.key.float().mean(dim=2, keepdim=True)
    key, query = ((x.float() - centre).to(x.dtype) for x in (memory.key, query))
    affinity = l2_affinity(key, query)
    # Objects of one picture share its affinity, so they are read as channels of one value.
    value = memory.value.reshape(query.shape[0], -1, memory.value.shape[2])
    return read_top_k(affinity, value, top_k).reshape(memory.value.shape[0], -1, query.shape[2])


def dot_affinity(key: Tensor, query: Tensor) -> Tensor:
    """Inner products over sqrt(Ck): key [Kk, Ck, N], query [1, Ck, M] -> [Kk, N, M]."""
    return _products(key, query / math.sqrt(key.shape[1]))


def l2_affinity(key: Tensor, query: Tensor) -> Tensor:
    """Negative squared distances over sqrt(Ck): key [Kk, Ck, N], query [1, Ck, M] -> [Kk, N, M].

    The squared norm of the query is left out: it is constant per column, and the softmax over memory cancels it.
    """
    scale = math.sqrt(key.shape[1])
    # The key norms become two more channels, coarse part and rest: a single one would lose bits in half precision,
    # and subtracting them afterwards would pass over the whole affinity once more.
    norms = key.float().square().sum(dim=1, keepdim=True) / scale
    coarse = norms.to(key.dtype)
    with_norms = torch.cat([key, -coarse, (coarse.float() - norms).to(key.dtype)], dim=1)
    ones = query.new_ones(query.shape[0], 2, query.shape[2])
    return _products(with_norms, torch.cat([query * (2 / scale), ones], dim=1))


def read_top_k(affinity: Tensor, value: Tensor, k: int) -> Tensor:
    """Read memory at its k best positions: affinity [Kk, N, M], value [K, Cv, N] -> [K, Cv, M].

    The softmax runs over the k largest affinities of each query position; all other positions get weight 0. The
    affinity may have a higher precision than the value; the result has the dtype of the value.
    """
    keys, positions, queries = affinity.shape
    best, index = _largest(affinity.transpose(1, 2).reshape(keys * queries, positions), min(k, positions))
    weights = torch.softmax(best, dim=1).to(value.dtype)
    # Summing k rows of a table per query takes far less work than a product with mostly zero weights. Objects that
    # share a key lie side by side in a row; keys lie one below the other.
    table = value.view(keys, -1, *value.shape[1:]).permute(0, 3, 1, 2).reshape(keys * positions, -1)
    index = index + positions * torch.arange(keys, device=index.device).repeat_interleave(queries).view(-1, 1)
    readout = functional.embedding_bag(index, table, per_sample_weights=weights, mode="sum")
    return readout.view(keys, queries, -1, value.shape[1]).permute(0, 2, 3, 1).flatten(0, 1)


def _products(key: Tensor, query: Tensor) -> Tensor:
    """Inner products [Kk, N, M]; the N of one query lie side by side in memory, since top-k runs over them."""
    return (query.transpose(1, 2) @ key).transpose(1, 2)


def _largest(affinity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest values of each row [R, N] and their positions, both [R, k], in any order.

    The search runs within the groups that have the largest maxima. It is exact: the k largest values lie in the k
    groups with the largest maxima. With groups of sqrt(N / k) the search among groups costs as much as the search
    within them; somewhat smaller groups are faster, since maxima over many rows are slow.
    """
    rows, positions = affinity.shape
    size = max(1, math.isqrt(positions // (2 * k)))
    groups = positions // size
    if size < 2 or groups < k:
        best, index = torch.topk(affinity, k, dim=1, sorted=False)
        return best, index
    # Group g holds positions g, g + groups, ..., so that maxima run over long rows. The last few positions are in no
    # group and are always candidates.
    grouped = affinity.detach()[:, : groups * size].unflatten(1, (size, groups))  # type: ignore[no-untyped-call]
    leaders = torch.topk(grouped.amax(dim=1), k, dim=1, sorted=False).indices
    members = groups * torch.arange(size, device=affinity.device).view(-1, 1)
    rest = torch.arange(groups * size, positions, device=affinity.device).expand(rows, -1)
    candidates = torch.cat([(leaders[:, None, :] + members).flatten(1), rest], dim=1)
    best, among = torch.topk(affinity.gather(1, candidates), k, dim=1, sorted=False)
    return best, candidates.gather(1, among)
