"""Soft aggregation of independent object probabilities into one distribution over background and objects.

Source: Oh et al., "Fast Video Object Segmentation by Reference-Guided Mask Propagation", CVPR 2018, section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

ABSENT_LOGIT = -20.0
"""Logit of an object where it certainly is not."""
_EPSILON = 1e-7


def soft_aggregate(probabilities: Tensor) -> Tensor:
    """Merge object probabilities.

    Args:
        probabilities: float [K, ...] in 0..1, of each object against everything else.

    Returns:
        float [K + 1, ...] with sum 1 over the first axis; entry 0 is the background.
    """
    background = torch.prod(1 - probabilities, dim=0, keepdim=True)
    merged = torch.cat([background, probabilities]).clamp(_EPSILON, 1 - _EPSILON)
    odds = merged / (1 - merged)
    return odds / odds.sum(dim=0, keepdim=True)


def without_objects(logits: Tensor, absent: Tensor) -> Tensor:
    """Return logits [K, 1, h, w] that are certain of the background for the objects in `absent`, bool [K]."""
    return logits.masked_fill(absent.to(logits.device)[:, None, None, None], ABSENT_LOGIT)
