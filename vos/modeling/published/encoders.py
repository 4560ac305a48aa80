"""Encoder parts of STM and STCN around the backbones: mask inputs, projections to key and value, feature fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos.modeling.published.cbam import CBAM
from vos.modeling.published.decoder import ResBlock
from vos.modeling.published.resnet import BasicBlock, ResNet


class KeyProjection(nn.Module):
    """Projection to the key (STCN, section 4.1)."""

    def __init__(self, in_channels: int, key_channels: int) -> None:
        super().__init__()
        self.key_proj = nn.Conv2d(in_channels, key_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, Ck, h, w]."""
        out: Tensor = self.key_proj(x)
        return out


class KeyValueProjection(nn.Module):
    """Projections to key and value (STM, section 3.2); callers may need only one of them."""

    def __init__(self, in_channels: int, key_channels: int, value_channels: int) -> None:
        super().__init__()
        self.key_proj = nn.Conv2d(in_channels, key_channels, 3, padding=1)
        self.val_proj = nn.Conv2d(in_channels, value_channels, 3, padding=1)

    def key(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, Ck, h, w]."""
        out: Tensor = self.key_proj(x)
        return out

    def value(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, Cv, h, w]."""
        out: Tensor = self.val_proj(x)
        return out


class FeatureFusion(nn.Module):
    """Fuses the maps of value encoder and key encoder with attention (STCN, section 4.1)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block1 = ResBlock(in_channels, out_channels)
        self.attention = CBAM(out_channels)
        self.block2 = ResBlock(out_channels, out_channels)

    def forward(self, x: Tensor, f16: Tensor) -> Tensor:
        """Value map [K, Cx, h, w], key map [1, Cf, h, w] -> [K, out, h, w]."""
        x = self.block1(torch.cat([x, f16.expand(x.shape[0], -1, -1, -1)], dim=1))
        out: Tensor = self.block2(x + self.attention(x))
        return out


class STCNValueEncoder(ResNet):
    """Light residual network over picture and masks, fused with the key encoder's map (STCN, section 4.1)."""

    def __init__(self, depths: tuple[int, int, int], key_map_channels: int, value_channels: int) -> None:
        super().__init__(BasicBlock, depths, in_channels=5, bias=True)
        self.fuser = FeatureFusion(256 + key_map_channels, value_channels)

    def encode(self, x: Tensor, f16: Tensor) -> Tensor:
        """Picture with masks [K, 5, H, W], map of the key encoder [1, Cf, h, w] -> value [K, Cv, h, w]."""
        out: Tensor = self.fuser(self(x)[-1], f16)
        return out


def with_masks(image: Tensor, masks: Tensor) -> Tensor:
    """Stack the picture, the mask of each object and the sum of all other objects' masks.

    Args:
        image: Picture float [1, 3, H, W].
        masks: Masks float [K, 1, H, W].

    Returns:
        [K, 5, H, W] in the picture's dtype, channels last in memory; the fifth plane is zero with one object.
    """
    others = masks.sum(dim=0, keepdim=True, dtype=torch.float32) - masks
    picture = image.expand(masks.shape[0], -1, -1, -1)
    stack = torch.cat([picture, masks.to(image.dtype), others.to(image.dtype)], dim=1)
    return stack.contiguous(memory_format=torch.channels_last)
