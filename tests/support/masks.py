"""Synthetic masks and pictures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_box(rows: slice, columns: slice, grid: tuple[int, int] = (23, 33)) -> Tensor:
    """Return the soft mask of one rectangular object, float [1, rows, columns]."""
    soft = torch.zeros(1, *grid)
    soft[0, rows, columns] = 1
    return soft


def bars(objects: int, height: int, width: int) -> Tensor:
    """Return the masks of disjoint vertical bars, float [K, 1, H, W]."""
    masks = torch.zeros(objects, 1, height, width)
    for k in range(objects):
        left = width * (2 * k + 1) // (2 * objects + 1)
        masks[k, :, height // 4 : -height // 4, left : left + width // (2 * objects + 1)] = 1
    return masks


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Return a picture with structure at all scales, uint8 [1, 3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 3, height, width)
    for size in (4, 8, 16, 32):
        noise = torch.rand(1, 3, size, size, generator=generator)
        total += functional.interpolate(noise, size=(height, width), mode="bicubic")
    return (total * 64).clamp(0, 255).to(torch.uint8)
