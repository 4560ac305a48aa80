"""Building blocks that `compact` and the refiner share.

Shapes: B pictures with K objects each; tensors of objects have B * K rows, the objects of one picture side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.cpu.packed_conv import convolve

KEY_CHANNELS = 64
SHARED_CHANNELS = 128
"""Channels of the stride-16 map that key, value encoder and decoder read."""
VALUE_CHANNELS = 128
LABEL_CHANNELS = 16
"""Value channels that hold the memory frame's mask itself: 4 x 4 stride-4 cells per stride-16 cell."""


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3x3 convolutions without norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        """[B, C, h, w] -> activation of the sum, [B, C, h, w]."""
        hidden = convolve(self.first, functional.relu(x), activation="relu")
        return convolve(self.second, hidden, add=x, activation=activation)


def per_object(x: Tensor, objects: int) -> Tensor:
    """Repeat picture features for each object: [B, C, h, w] -> [B*K, C, h, w]."""
    return x if objects == 1 else x.repeat_interleave(objects, dim=0)


def add_picture(layer: nn.Module, picture: Tensor, x: Tensor) -> Tensor:
    """Add a convolution of the picture features [B, C', h, w] to object features x [B*K, C, h, w]."""
    if len(x) == len(picture):
        return convolve(layer, picture, add=x)
    return x + per_object(layer(picture), len(x) // len(picture))


def upsample(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 2h, 2w], bilinear, aligned by cell areas."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def initialize_convolutions(network: nn.Module, *, pretrained: tuple[str, ...]) -> None:
    """Initialize all convolutions but those whose names start with a `pretrained` prefix.

    The last convolution of a residual block starts small, since no norm bounds the sum.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and not name.startswith(pretrained):
            _initialize(module, gain=0.2 if name.endswith(".second") else 1.0)


def _initialize(layer: nn.Conv2d, gain: float) -> None:
    """He initialization (He et al., ICCV 2015) times `gain`, zero bias."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        layer.weight.mul_(gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
