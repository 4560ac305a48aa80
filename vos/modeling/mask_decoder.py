"""MaskDecoder of `compact`: from what was read of memory to mask logits at stride 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.blocks import LABEL_CHANNELS, SHARED_CHANNELS, VALUE_CHANNELS, ResidualBlock
from vos.modeling.cpu.packed_conv import convolve
from vos.modeling.mobilenet import TAP_CHANNELS
from vos.modeling.value_encoder import per_object

_EXPECTED_CHANNELS = 5
"""MaskDecoder input: 2 x 2 stride-8 cells of the expected mask, and one that says whether a mask is expected at all."""


class MaskDecoder(nn.Module):
    """From what was read of memory to a logit at stride 4, with skip connections from the picture."""

    CHANNELS16 = 96

    def __init__(self) -> None:
        super().__init__()
        stride4, stride8 = TAP_CHANNELS[:2]
        self.picture16 = nn.Conv2d(SHARED_CHANNELS, self.CHANNELS16, 3, padding=1)
        self.object16 = nn.Conv2d(
            VALUE_CHANNELS + LABEL_CHANNELS + _EXPECTED_CHANNELS, self.CHANNELS16, 3, padding=1, bias=False
        )
        self.mix16 = ResidualBlock(self.CHANNELS16)
        self.picture8 = nn.Conv2d(stride8, 64, 3, padding=1)
        self.object8 = nn.Conv2d(self.CHANNELS16, 64, 1, bias=False)
        self.mix8 = ResidualBlock(64)
        self.picture4 = nn.Conv2d(stride4, 32, 3, padding=1)
        self.object4 = nn.Conv2d(64, 32, 1, bias=False)
        self.label4 = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.mix4 = ResidualBlock(32)
        self.out = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, maps: dict[int, Tensor], read: Tensor, hint: Tensor) -> tuple[Tensor, Tensor]:
        """Picture maps of B pictures, read [B*K, 144, h, w], hint [B*K, 5, h, w] -> two tensors of objects.

        Returns:
            Logits [B*K, 1, 4h, 4w]; what they were made of at stride 16, [B*K, 96, h, w].
        """
        labels = functional.pixel_shuffle(read[:, VALUE_CHANNELS:], 4)
        x = self.object16(torch.cat([read, hint], dim=1))
        deep = self.mix16(add_picture(self.picture16, maps[16], x), activation="relu")
        x = double(self.object8(deep))
        x = double(self.object4(self.mix8(add_picture(self.picture8, maps[8], x), activation="relu")))
        x = convolve(self.label4, labels, add=add_picture(self.picture4, maps[4], x))
        return self.out(self.mix4(x, activation="relu")), deep


def add_picture(layer: nn.Module, picture: Tensor, x: Tensor) -> Tensor:
    """Sum of x [B*K, C, h, w] and, for each object, what a convolution makes of its picture [B, C', h, w]."""
    if len(x) == len(picture):
        return convolve(layer, picture, add=x)
    return x + per_object(layer(picture), len(x) // len(picture))


def expected_mask_input(previous: Tensor | None, read: Tensor) -> Tensor:
    """Expected masks [B*K, 1, 4h, 4w] -> decoder input [B*K, 5, h, w]; an unknown mask is all zeros."""
    rows, _, height, width = read.shape
    if previous is None:
        return read.new_zeros(rows, _EXPECTED_CHANNELS, height, width)
    cells = functional.pixel_unshuffle(functional.avg_pool2d(previous.to(read.dtype), 2), 2)
    hint = torch.cat([cells, torch.ones_like(cells[:, :1])], dim=1)
    return hint.contiguous(memory_format=torch.channels_last)


def double(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 2h, 2w], aligned by cell areas."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
