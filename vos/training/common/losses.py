"""Losses on aggregated logits (pure functions)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def aggregate_logits(logits: Tensor) -> Tensor:
    """Independent object logits [B, K, h, w] -> logits over background and objects [B, K + 1, h, w].

    The softmax of the result is `soft_aggregate` of the sigmoids: the odds of an object are exp(logit), and the
    background's probability is the product of the objects' complements.
    """
    background = functional.logsigmoid(-logits).sum(dim=1, keepdim=True).clamp(max=-1e-6)
    return torch.cat([background - torch.log(-torch.expm1(background)), logits], dim=1)


def bootstrapped_cross_entropy(logits: Tensor, labels: Tensor, share: float) -> Tensor:
    """Mean cross-entropy of the hardest pixels.

    Args:
        logits: [B, C, H, W].
        labels: int64 [B, H, W].
        share: Share of pixels that count; their smallest loss is estimated on every 13th pixel.
    """
    loss = functional.cross_entropy(logits, labels, reduction="none").flatten()
    if share >= 1:
        return loss.mean()
    sample = loss.detach()[::13]
    limit = sample.kthvalue(max(1, round((1 - share) * sample.numel()))).values
    counted = loss >= limit
    return (loss * counted).sum() / counted.sum().clamp(min=1)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of 1 - soft Dice over objects (Milletari et al., 3DV 2016); logits [B, K + 1, H, W], labels [B, H, W]."""
    objects = logits.shape[1] - 1
    probability = torch.softmax(logits, dim=1)[:, 1:].flatten(2)
    truth = torch.stack([(labels == k + 1).flatten(1) for k in range(objects)], dim=1).to(probability.dtype)
    overlap = (probability * truth).sum(dim=2)
    size = probability.sum(dim=2) + truth.sum(dim=2)
    return (1 - (2 * overlap + 1) / (size + 1)).mean()


def hardest_share(progress: float, final: float) -> float:
    """Share of pixels that count: 1 in the first tenth of the run, then falling linearly to `final` at its middle."""
    return 1 - (1 - final) * min(1.0, max(0.0, (progress - 0.1) / 0.4))


def presence_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of whether any pixel of the object is visible; logits [B, K], labels [B, H, W]."""
    ids = torch.arange(1, logits.shape[1] + 1, device=labels.device)
    visible = (labels.flatten(1)[:, None] == ids[:, None]).any(dim=2)
    return functional.binary_cross_entropy_with_logits(logits.float(), visible.float())
