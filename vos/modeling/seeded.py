"""Weights that are a function of their own names: for conformance checks and for measuring speed without a checkpoint.

A network with such weights segments nothing; its work and its numbers are the same on every machine.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor


def seeded_tensor(name: str, shape: torch.Size) -> Tensor:
    """Tensor for one entry of a state dict, drawn on the CPU from a generator that is seeded with its name's CRC-32.

    | entry | values |
    | --- | --- |
    | `*num_batches_tracked` | 0, int64 |
    | two or more dimensions | normal, deviation 1 / sqrt(fan-in) |
    | `*running_var` | uniform, 0.5 to 1.5 |
    | other `*weight` (batch-norm scales) | uniform, 0.5 to 1 |
    | the rest (biases, running means) | normal, deviation 0.05 |
    """
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if len(shape) > 1:
        return torch.randn(shape, generator=generator) * math.sqrt(1 / math.prod(shape[1:]))
    if name.endswith("running_var"):
        return torch.rand(shape, generator=generator) + 0.5
    if name.endswith("weight"):
        return torch.rand(shape, generator=generator) * 0.5 + 0.5
    return torch.randn(shape, generator=generator) * 0.05


def seeded_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Seeded counterpart of a state dict: same names and shapes."""
    return {name: seeded_tensor(name, tensor.shape) for name, tensor in state.items()}
