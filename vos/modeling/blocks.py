"""Parts that `compact` and the refiner share: one key a frame, values that hold masks, a decoder that is told a mask.

Shapes: B pictures, K objects in each, H x W picture, h x w = H/16 x W/16, s4 = [H/4, W/4] and so on. Tensors of objects
have B * K rows, those of one picture side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.cpu.packed_conv import convolve

KEY_CHANNELS = 64
SHARED_CHANNELS = 128
VALUE_CHANNELS = 128
LABEL_CHANNELS = 16
"""Value channels that are the memory frame's mask: its 4 x 4 stride-4 cells under one stride-16 cell."""


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3x3, without norm; the sum is activated if wanted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        """[B, C, h, w] -> the same shape."""
        hidden = convolve(self.first, functional.relu(x), activation="relu")
        return convolve(self.second, hidden, add=x, activation=activation)


def initialize(layer: nn.Conv2d, gain: float) -> None:
    """He et al., ICCV 2015; a residual branch starts small, since no norm holds its size."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        layer.weight.mul_(gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
