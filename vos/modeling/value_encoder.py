"""Value encoder of `compact`: picture features and masks -> the value that memory stores per object."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.blocks import SHARED_CHANNELS, VALUE_CHANNELS, ResidualBlock, per_object
from vos.modeling.cpu.packed_conv import convolve
from vos.modeling.mobilenet import TAP_CHANNELS


class ValueEncoder(nn.Module):
    """Encodes the picture with the mask of each object and the masks of all other objects."""

    def __init__(self) -> None:
        super().__init__()
        stride4, stride8 = TAP_CHANNELS[:2]
        self.picture4 = nn.Conv2d(stride4, 64, 3, stride=2, padding=1)
        self.mask4 = nn.Conv2d(16 + 1, 64, 3, stride=2, padding=1, bias=False)
        self.picture8 = nn.Conv2d(stride8, 96, 3, stride=2, padding=1)
        self.object8 = nn.Conv2d(64, 96, 3, stride=2, padding=1, bias=False)
        self.picture16 = nn.Conv2d(SHARED_CHANNELS, VALUE_CHANNELS, 1)
        self.object16 = nn.Conv2d(96, VALUE_CHANNELS, 3, padding=1, bias=False)
        self.mix = ResidualBlock(VALUE_CHANNELS)

    def forward(self, maps: dict[int, Tensor], masks: Tensor, other_masks: Tensor) -> Tensor:
        """Encode B pictures with K objects each.

        Args:
            maps: Picture features by stride: 4: [B, 24, H/4, W/4], 8: [B, 32, H/8, W/8], 16: [B, 128, H/16, W/16].
            masks: Soft masks [B*K, 1, H, W].
            other_masks: Sum of the other objects' masks [B*K, 1, H/4, W/4].

        Returns:
            Values [B*K, 128, H/16, W/16].
        """
        objects = masks.shape[0] // maps[4].shape[0]
        cells = torch.cat([functional.pixel_unshuffle(masks, 4), other_masks], dim=1)
        x = convolve(self.mask4, cells, add=per_object(self.picture4(maps[4]), objects), activation="relu")
        x = convolve(self.object8, x, add=per_object(self.picture8(maps[8]), objects), activation="relu")
        x = convolve(self.object16, x, add=per_object(self.picture16(maps[16]), objects))
        value: Tensor = self.mix(x)
        return value


def other_masks(masks: Tensor, pictures: int) -> Tensor:
    """Masks [B*K, 1, H, W] of B pictures -> the clamped sum of the picture's other objects, [B*K, 1, H, W]."""
    by_picture = masks.view(pictures, -1, *masks.shape[1:])
    return (by_picture.sum(dim=1, keepdim=True) - by_picture).clamp(0, 1).flatten(0, 1)


def other_masks_stride4(masks: Tensor, pictures: int) -> Tensor:
    """`other_masks` at stride 4: [B*K, 1, H, W] -> [B*K, 1, H/4, W/4]."""
    if masks.shape[0] == pictures:
        return masks.new_zeros(pictures, 1, masks.shape[2] // 4, masks.shape[3] // 4)
    return functional.avg_pool2d(other_masks(masks, pictures), 4)
