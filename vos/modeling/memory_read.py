"""Space-time memory read with top-k filtering (pure functions).

Sources: STM (Oh et al., ICCV 2019, section 3.3) for the read, MiVOS (Cheng et al., CVPR 2021, section 3.3) for top-k
filtering before the softmax, STCN (Cheng et al., NeurIPS 2021, section 4.2) for the negative squared L2 affinity.

Shapes: Kk keys (K or 1), K objects, Ck key channels, Cv value channels, N memory positions, M query positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dot_affinity(key: Tensor, query: Tensor) -> Tensor:
    """Inner products over sqrt(Ck): key [Kk, Ck, N], query [1, Ck, M] -> [Kk, N, M]."""
    return key.transpose(1, 2) @ query / math.sqrt(key.shape[1])


def l2_affinity(key: Tensor, query: Tensor) -> Tensor:
    """Negative squared distances over sqrt(Ck): key [Kk, Ck, N], query [1, Ck, M] -> [Kk, N, M].

    The query's own norm is left out: one constant a column, which the softmax over memory positions cancels.
    """
    norms = key.square().sum(dim=1).unsqueeze(-1)
    return (2 * (key.transpose(1, 2) @ query) - norms) / math.sqrt(key.shape[1])


def read_top_k(affinity: Tensor, value: Tensor, k: int) -> Tensor:
    """Read memory at its k best positions: affinity [Kk, N, M], value [K, Cv, N] -> [K, Cv, M].

    Softmax runs over the k largest affinities of each query position; all others get weight 0. Affinities may be more
    precise than values; the result has the values' type.
    """
    k = min(k, affinity.shape[1])
    best, position = torch.topk(affinity, k, dim=1)
    weights = torch.zeros_like(affinity).scatter_(1, position, torch.softmax(best, dim=1))
    return value @ weights.to(value.dtype).expand(value.shape[0], -1, -1)
