"""MobileNetV2 backbone without norm layers (batch norm is folded in), tapped at strides 4, 8 and 16.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2; output stride 16
by dilation as in DeepLabv3 (Chen et al., 2017). Parameter names: `stem`, `blocks.0` ... `blocks.16`, each with `expand`
(absent in block 0), `depthwise` and `project`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos.modeling.cpu.packed_conv import convolve

_BLOCKS = (
    (16, 1, 1),
    *((24, 2, 1), (24, 1, 1)),
    *((32, 2, 1), (32, 1, 1), (32, 1, 1)),
    *((64, 2, 1), (64, 1, 1), (64, 1, 1), (64, 1, 1)),
    *((96, 1, 1), (96, 1, 1), (96, 1, 1)),
    *((160, 1, 1), (160, 1, 2), (160, 1, 2)),
    (320, 1, 2),
)
"""(output channels, stride, dilation) of blocks 0 to 16."""
_TAPS = (2, 5, 12, 16)
FROZEN_BLOCKS = 6
"""The stem and the first blocks up to stride 8 keep their pretrained weights in training."""
TAP_CHANNELS = (24, 32, 96, 320)
"""Channels of the taps at strides 4, 8, 16 and 16."""


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; ReLU6 after the first two; a shortcut where shapes agree."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, dilation: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.expand = nn.Conv2d(channels_in, hidden, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=dilation, dilation=dilation, groups=hidden)
        self.project = nn.Conv2d(hidden, channels_out, 1)
        self.dilated = dilation > 1
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """[B, Cin, h, w] -> [B, Cout, h/stride, w/stride]."""
        hidden = x if self.expand is None else convolve(self.expand, x, activation="relu6")
        hidden = convolve(self.depthwise, hidden, activation="relu6")
        return convolve(self.project, hidden, add=x if self.residual else None)


class MobileNetV2(nn.Module):
    """The backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        channels = 32
        blocks = []
        for index, (out, stride, dilation) in enumerate(_BLOCKS):
            blocks.append(InvertedResidual(channels, out, stride, dilation, expansion=6 if index else 1))
            channels = out
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures [B, 3, H, W] in -1..1 -> taps [B, C, H/s, W/s] with C = 24, 32, 96, 320 at s = 4, 8, 16, 16."""
        x = convolve(self.stem, image, activation="relu6")
        taps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return taps[0], taps[1], taps[2], taps[3]

    def frozen_parameters(self) -> list[nn.Parameter]:
        """Parameters that training does not change: stem, first blocks and dilated depthwise weights.

        The weight gradients of the dilated depthwise convolutions cost a fifth of a training step on a CPU.
        """
        frozen = [self.stem, *self.blocks[:FROZEN_BLOCKS]]
        frozen += [block.depthwise for block in self.blocks if isinstance(block, InvertedResidual) and block.dilated]
        return [parameter for module in frozen for parameter in module.parameters()]


def normalize(rgb: Tensor, dtype: torch.dtype) -> Tensor:
    """Pictures uint8 [B, 3, H, W] -> [B, 3, H, W] in -1..1."""
    return (rgb.to(torch.float32) / 127.5 - 1).to(dtype)


def load_backbone(backbone: MobileNetV2, tensors: dict[str, Tensor]) -> None:
    """Fill the backbone with published tensors.

    Raises:
        RuntimeError: Names or shapes differ.
    """
    backbone.load_state_dict({name: tensor.to(torch.float32) for name, tensor in tensors.items()})
