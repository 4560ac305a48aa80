"""STCN: space-time correspondence networks.

Source: Cheng, Tai and Tang, "Rethinking Space-Time Networks with Improved Memory Coverage for Efficient Video Object
Segmentation", NeurIPS 2021. State-dict names and shapes are those of the published checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos.modeling.memory_read import l2_affinity, read_top_k
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.published import imagenet
from vos.modeling.published.decoder import STMDecoder
from vos.modeling.published.encoders import KeyProjection, STCNValueEncoder, with_masks
from vos.modeling.published.resnet import Bottleneck, ResNet


class STCN(VOSNetwork):
    """One ResNet-50 key encoder for memory and query, a light value encoder and negative squared L2 affinity.

    Args:
        key_depths: Blocks per stage of the key encoder.
        value_depths: Blocks per stage of the value encoder.
        key_channels: Channels Ck of the key.
        value_channels: Channels Cv of the value; the decoder takes 2 * Cv, readout and compressed key-encoder map.
    """

    name = "stcn"
    sees_windows = True

    def __init__(
        self,
        key_depths: tuple[int, int, int],
        value_depths: tuple[int, int, int],
        key_channels: int,
        value_channels: int,
    ) -> None:
        super().__init__()
        self.key_encoder = ResNet(Bottleneck, key_depths, first_stage="res2")
        self.value_encoder = STCNValueEncoder(value_depths, 1024, value_channels)
        self.key_proj = KeyProjection(1024, key_channels)
        self.key_comp = nn.Conv2d(1024, value_channels, 3, padding=1)
        self.decoder = STMDecoder(2 * value_channels, refine_skip=False)

    def normalize(self, rgb: Tensor) -> Tensor:
        """Picture uint8 [1, 3, H, W] -> float [1, 3, H, W], by the mean and deviation of ImageNet."""
        return imagenet.normalize(rgb, next(self.parameters()).dtype)

    def encode(self, image: Tensor) -> Features:
        """Normalized picture [1, 3, H, W] -> key [1, Ck, h, w] and maps of 256, 512, 1024 channels at 4, 8, 16."""
        f4, f8, f16 = self.key_encoder(image)
        return Features(image, self.key_proj(f16).float(), {4: f4, 8: f8, 16: f16})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Features and soft masks [K, 1, H, W] -> key [1, Ck, h*w] and value [K, Cv, h*w]."""
        value = self.value_encoder.encode(with_masks(features.image, masks), features.maps[16])
        return Memory(features.key.flatten(2), value.flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:  # noqa: ARG002
        """Segment a frame from key [1, Ck, N] and value [K, Cv, N] -> logits [K, 1, H/4, W/4]; ignores `previous`."""
        affinity = l2_affinity(memory.key, features.key.flatten(2))
        readout = read_top_k(affinity, memory.value, top_k)
        readout = readout.reshape(*readout.shape[:2], *features.key.shape[2:])
        own = self.key_comp(features.maps[16]).expand_as(readout)
        x = torch.cat([readout, own], dim=1).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.decoder(x, features.maps[8], features.maps[4]).float()
        return out
