"""Mask decoder of `compact`: readout -> mask logits at stride 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.blocks import (
    LABEL_CHANNELS,
    SHARED_CHANNELS,
    VALUE_CHANNELS,
    ResidualBlock,
    add_picture,
    upsample,
)
from vos.modeling.cpu.packed_conv import convolve
from vos.modeling.mobilenet import TAP_CHANNELS

_EXPECTED_CHANNELS = 5
"""Channels of the expected mask: its 2 x 2 stride-8 cells, and one that says whether a mask is expected at all."""


class MaskDecoder(nn.Module):
    """Upsamples the readout to stride 4, with skip connections from the picture."""

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

    def forward(self, maps: dict[int, Tensor], readout: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the masks of B pictures with K objects each.

        Args:
            maps: Picture features by stride: 4: [B, 24, 4h, 4w], 8: [B, 32, 2h, 2w], 16: [B, 128, h, w].
            readout: [B*K, 144, h, w].
            expected: [B*K, 5, h, w], see `expected_mask_input`.

        Returns:
            Logits [B*K, 1, 4h, 4w] and the object features at stride 16, [B*K, 96, h, w].
        """
        labels = functional.pixel_shuffle(readout[:, VALUE_CHANNELS:], 4)
        x = self.object16(torch.cat([readout, expected], dim=1))
        features16 = self.mix16(add_picture(self.picture16, maps[16], x), activation="relu")
        x = upsample(self.object8(features16))
        x = upsample(self.object4(self.mix8(add_picture(self.picture8, maps[8], x), activation="relu")))
        x = convolve(self.label4, labels, add=add_picture(self.picture4, maps[4], x))
        return self.out(self.mix4(x, activation="relu")), features16


def expected_mask_input(previous: Tensor | None, readout: Tensor) -> Tensor:
    """Expected masks [B*K, 1, 4h, 4w] -> decoder input [B*K, 5, h, w]; all zeros without an expected mask."""
    rows, _, height, width = readout.shape
    if previous is None:
        return readout.new_zeros(rows, _EXPECTED_CHANNELS, height, width)
    cells = functional.pixel_unshuffle(functional.avg_pool2d(previous.to(readout.dtype), 2), 2)
    expected = torch.cat([cells, torch.ones_like(cells[:, :1])], dim=1)
    return expected.contiguous(memory_format=torch.channels_last)
