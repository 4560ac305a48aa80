"""What STM and STCN put behind and before their backbones: projections to keys and values, mask inputs, fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos.modeling.published.cbam import CBAM
from vos.modeling.published.decoder import ResBlock
from vos.modeling.published.resnet import BasicBlock, ResNet


class KeyProjection(nn.Module):
    """Map at stride 16 -> key (STCN, section 4.1): [B, C, h, w] -> [B, Ck, h, w]."""

    def __init__(self, in_channels: int, key_channels: int) -> None:
        super().__init__()
        self.key_proj = nn.Conv2d(in_channels, key_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, Ck, h, w]."""
        out: Tensor = self.key_proj(x)
        return out


class KeyValueProjection(nn.Module):
    """Map at stride 16 -> key and value (STM, section 3.2), each asked for by itself."""

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
    """Fuse the value encoder's map with the key encoder's, with attention (STCN, section 4.1)."""

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
    """STCN's value encoder: a light residual network over picture and masks, fused with the key encoder's map."""

    def __init__(self, depths: tuple[int, int, int], key_map_channels: int, value_channels: int) -> None:
        super().__init__(BasicBlock, depths, in_channels=5, bias=True)
        self.fuser = FeatureFusion(256 + key_map_channels, value_channels)

    def encode(self, x: Tensor, f16: Tensor) -> Tensor:
        """Picture with masks [K, 5, H, W], key encoder's map [1, Cf, h, w] -> value [K, Cv, h, w]."""
        out: Tensor = self.fuser(self(x)[-1], f16)
        return out


def with_masks(image: Tensor, masks: Tensor) -> Tensor:
    """Lay each object's mask and the sum of all other objects' masks beside the picture.

    Args:
        image: float [1, 3, H, W].
        masks: float [K, 1, H, W].

    Returns:
        [K, 5, H, W] in the picture's dtype and memory layout; with one object the fifth plane is zero.
    """
    others = masks.sum(dim=0, keepdim=True, dtype=torch.float32) - masks
    picture = image.expand(masks.shape[0], -1, -1, -1)
    stack = torch.cat([picture, masks.to(image.dtype), others.to(image.dtype)], dim=1)
    return stack.contiguous(memory_format=torch.channels_last)
