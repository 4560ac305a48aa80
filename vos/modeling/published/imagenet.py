"""Normalization of pictures for backbones that were trained on ImageNet."""

from __future__ import annotations

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of R, G, B in 0..1."""


def normalize(rgb: Tensor, dtype: torch.dtype) -> Tensor:
    """Pictures uint8 [B, 3, H, W] -> [B, 3, H, W] with mean 0 and deviation 1, channels last in memory.

    Computes in float32 whatever the dtype of the result.
    """
    mean = torch.tensor(MEAN, device=rgb.device).mul(255).view(3, 1, 1)
    scale = torch.tensor(STD, device=rgb.device).mul(255).reciprocal().view(3, 1, 1)
    image = rgb.to(torch.float32, memory_format=torch.channels_last).sub_(mean).mul_(scale)
    return image.to(dtype)
