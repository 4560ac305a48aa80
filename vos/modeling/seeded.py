"""Weights that are a function of their names, for conformance checks and speed measurements without a checkpoint.

A network with seeded weights segments nothing, but its operations and numbers are the same on every machine.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor


def seeded_tensor(name: str, shape: torch.Size) -> Tensor:
    """Draw one entry of a state dict on the CPU, from a generator seeded with the CRC-32 of its name.

    | entry | values |
    | --- | --- |
    | `*num_batches_tracked` | 0, int64 |
    | two or more dimensions | normal, deviation 1 / sqrt(fan-in) |
    | `*running_var` | uniform, 0.5 to 1.5 |
    | other `*weight` (batch-norm scales) | uniform, 0.5 to 1 |
    | all other (biases, running means) | normal, deviation 0.05 |
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
    """Seeded state dict with the same names and shapes."""
    return {name: seeded_tensor(name, tensor.shape) for name, tensor in state.items()}
