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


def dot_affinity(key: Tensor, query: Tensor) -> Tensor:
    """Inner products over sqrt(Ck): key [Kk, Ck, N], query [1, Ck, M] -> [Kk, N, M]."""
    return _products(key, query / math.sqrt(key.shape[1]))


def l2_affinity(key: Tensor, query: Tensor) -> Tensor:
    """Negative squared distances over sqrt(Ck): key [Kk, Ck, N], query [1, Ck, M] -> [Kk, N, M].

    The query's own norm is left out: one constant a column, which the softmax over memory positions cancels.
    """
    scale = math.sqrt(key.shape[1])
    norms = key.square().sum(dim=1).unsqueeze(-1)
    return _products(key, query * (2 / scale)) - norms / scale


def read_top_k(affinity: Tensor, value: Tensor, k: int) -> Tensor:
    """Read memory at its k best positions: affinity [Kk, N, M], value [K, Cv, N] -> [K, Cv, M].

    Softmax runs over the k largest affinities of each query position; all others get weight 0. Affinities may be more
    precise than values; the result has the values' type.
    """
    keys, positions, queries = affinity.shape
    best, index = torch.topk(affinity, min(k, positions), dim=1)
    weights = torch.softmax(best, dim=1).to(value.dtype)
    # k rows of a table are added for each query: far less work than a product with mostly zero weights. Objects that
    # share a key lie side by side in a row; keys lie one below the other.
    table = value.view(keys, -1, *value.shape[1:]).permute(0, 3, 1, 2).reshape(keys * positions, -1)
    index = index + positions * torch.arange(keys, device=index.device).view(-1, 1, 1)
    read = functional.embedding_bag(_bags(index), table, per_sample_weights=_bags(weights), mode="sum")
    return read.view(keys, queries, -1, value.shape[1]).permute(0, 2, 3, 1).flatten(0, 1)


def _products(key: Tensor, query: Tensor) -> Tensor:
    """Inner products [Kk, N, M], laid out so that the N of one query are neighbours in memory: top-k runs over them."""
    return (query.transpose(1, 2) @ key).transpose(1, 2)


def _bags(x: Tensor) -> Tensor:
    """[Kk, k, M] -> [Kk * M, k]."""
    return x.transpose(1, 2).flatten(0, 1)
