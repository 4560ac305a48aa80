"""STM with top-k filtering.

Sources: Oh et al., "Video Object Segmentation using Space-Time Memory Networks", ICCV 2019; the variant with ResNet-50
to stride 16, the other objects' masks as input and top-k filtering is that of Cheng et al., "Modular Interactive Video
Object Segmentation" (MiVOS), CVPR 2021. State-dict names and shapes are those of MiVOS's published propagation model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vos.modeling.memory_read import dot_affinity, read_top_k
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.published import imagenet
from vos.modeling.published.decoder import STMDecoder
from vos.modeling.published.encoders import KeyValueProjection, with_masks
from vos.modeling.published.resnet import Bottleneck, ResNet


class STM(VOSNetwork):
    """Two ResNet-50 encoders, memory keys that depend on the masks, and inner-product affinity.

    Args:
        depths: Blocks per stage of both encoders.
        key_channels: Channels Ck of the key.
        value_channels: Channels Cv of the value; the decoder takes 2 * Cv, readout and value of the query frame.
    """

    name = "stm"
    sees_windows = True

    def __init__(self, depths: tuple[int, int, int], key_channels: int, value_channels: int) -> None:
        super().__init__()
        self.mask_rgb_encoder = ResNet(Bottleneck, depths, in_channels=5, bias=True)
        self.rgb_encoder = ResNet(Bottleneck, depths, first_stage="res2")
        self.kv_m_f16 = KeyValueProjection(1024, key_channels, value_channels)
        self.kv_q_f16 = KeyValueProjection(1024, key_channels, value_channels)
        self.decoder = STMDecoder(2 * value_channels, refine_skip=True)

    def normalize(self, rgb: Tensor) -> Tensor:
        """Picture uint8 [1, 3, H, W] -> float [1, 3, H, W], by the mean and deviation of ImageNet."""
        return imagenet.normalize(rgb, next(self.parameters()).dtype)

    def encode(self, image: Tensor) -> Features:
        """Normalized picture [1, 3, H, W] -> key [1, Ck, h, w] and maps of 256, 512, 1024 channels at 4, 8, 16."""
        f4, f8, f16 = self.rgb_encoder(image)
        return Features(image, self.kv_q_f16.key(f16).float(), {4: f4, 8: f8, 16: f16})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Features and soft masks [K, 1, H, W] -> key [K, Ck, h*w] and value [K, Cv, h*w] of picture and masks."""
        f16 = self.mask_rgb_encoder(with_masks(features.image, masks))[-1]
        return Memory(self.kv_m_f16.key(f16).flatten(2).float(), self.kv_m_f16.value(f16).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:  # noqa: ARG002
        """Segment a frame from key [K, Ck, N] and value [K, Cv, N] -> logits [K, 1, H/4, W/4]; ignores `previous`."""
        query = features.key.flatten(2)
        # One object at a time, since each has its own T * (h*w)^2 affinities.
        affinities = (dot_affinity(key, query) for key in memory.key.unsqueeze(1))
        readouts = [read_top_k(affinity, memory.value[k, None], top_k) for k, affinity in enumerate(affinities)]
        readout = torch.cat(readouts)
        readout = readout.reshape(*readout.shape[:2], *features.key.shape[2:])
        own = self.kv_q_f16.value(features.maps[16]).expand_as(readout)
        x = torch.cat([readout, own], dim=1).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.decoder(x, features.maps[8], features.maps[4]).float()
        return out
