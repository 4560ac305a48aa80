"""`compact`, the default base network: a memory network after STCN on MobileNetV2, about 3 M parameters.

One key per frame serves all objects (STCN, Cheng et al., NeurIPS 2021). Two additions: some value channels hold the
memory frame's mask itself, so that the readout also propagates labels explicitly (after Wang et al., "Learning
Correspondence from the Cycle-consistency of Time", CVPR 2019), and the decoder sees the mask expected in the frame.
Whatever depends on the picture alone is computed once and shared by its K objects.

Shapes: B pictures with K objects each, H x W pixels, h x w = H/16 x W/16, N positions in memory. Tensors of objects
have B * K rows, the objects of one picture side by side; at inference B is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.blocks import KEY_CHANNELS, LABEL_CHANNELS, SHARED_CHANNELS, initialize_convolutions
from vos.modeling.cpu.packed_conv import convolve
from vos.modeling.fold import fold_scales
from vos.modeling.mask_decoder import MaskDecoder, expected_mask_input
from vos.modeling.memory_read import read_memory
from vos.modeling.mobilenet import TAP_CHANNELS, InvertedResidual, MobileNetV2, normalize
from vos.modeling.network import Features, FramePrediction, Memory, VOSNetwork
from vos.modeling.presence import PresenceHead
from vos.modeling.value_encoder import ValueEncoder, other_masks_stride4


class CompactNetwork(VOSNetwork):
    """The default base network."""

    name = "compact"
    sees_windows = True
    optional = ("presence",)
    int8_parts = ("maps", "value.forward", "decoder.forward")

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MobileNetV2()
        self.register_buffer("tap_scale", torch.ones(len(TAP_CHANNELS)))
        self.tap_scale: Tensor
        """1 / standard deviation of each tap on training pictures: taps differ by orders of magnitude."""
        self.folded = False
        self.shared = nn.Conv2d(TAP_CHANNELS[2] + TAP_CHANNELS[3], SHARED_CHANNELS, 1)
        self.key = nn.Conv2d(SHARED_CHANNELS, KEY_CHANNELS, 3, padding=1)
        self.value = ValueEncoder()
        self.decoder = MaskDecoder()
        self.presence: PresenceHead | None = PresenceHead(MaskDecoder.CHANNELS16)
        initialize_convolutions(self, pretrained=("backbone.",))

    @torch.no_grad()
    def fold(self) -> None:
        """Merge adjacent linear maps: tap scales into the layers after them, the last projection into `shared`."""
        last = self.backbone.blocks[-1]
        if not isinstance(last, InvertedResidual) or isinstance(last.project, nn.Identity):
            return
        near_channels, hidden_channels = TAP_CHANNELS[2], last.project.in_channels
        near = self.shared.weight[:, :near_channels] * self.tap_scale[2]
        far = self.shared.weight[:, near_channels:] * self.tap_scale[3]
        weight = torch.cat([near, torch.einsum("oixy,ihxy->ohxy", far, last.project.weight)], dim=1)
        # A map of zeros leaves only the biases.
        zeros = last.project(weight.new_zeros(1, hidden_channels, 1, 1)) * self.tap_scale[3]
        bias = self.shared(torch.cat([zeros.new_zeros(1, near_channels, 1, 1), zeros], dim=1))
        self.shared = nn.Conv2d(near_channels + hidden_channels, SHARED_CHANNELS, 1).to(weight)
        self.shared.load_state_dict({"weight": weight, "bias": bias.flatten()})
        last.project = nn.Identity()  # type: ignore[assignment]
        value, decoder = self.value, self.decoder
        fold_scales(self.tap_scale, (value.picture4, decoder.picture4), (value.picture8, decoder.picture8), (), ())
        self.folded = True

    def normalize(self, rgb: Tensor) -> Tensor:
        """Pictures uint8 [B, 3, H, W] -> [B, 3, H, W] in -1..1, in the dtype of the weights."""
        return normalize(rgb, self.tap_scale.dtype)

    def encode(self, image: Tensor) -> Features:
        """Normalized pictures [B, 3, H, W] -> key [B, 64, h, w] and maps of 24, 32 and 128 channels at 4, 8, 16."""
        stride4, stride8, stride16, key = self.maps(image)
        return Features(image=image, key=key, maps={4: stride4, 8: stride8, 16: stride16})

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalized pictures [B, 3, H, W] -> maps at strides 4, 8 and 16, and key, see `encode`."""
        taps = list(self.backbone(image))
        if not self.folded:
            taps = [tap * scale for tap, scale in zip(taps, self.tap_scale, strict=True)]
        shared = convolve(self.shared, torch.cat(taps[2:], dim=1), activation="relu")
        return taps[0], taps[1], shared, self.key(shared)

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Features of B pictures, masks [B*K, 1, H, W] -> key [B, 64, h*w], value [B*K, 144, h*w]."""
        masks = masks.to(features.key.dtype)
        cells = functional.avg_pool2d(masks, 4)
        value = self.value(features.maps, masks, other_masks_stride4(masks, features.key.shape[0]))
        labels = functional.pixel_unshuffle(cells, 4)
        return Memory(key=features.key.flatten(2), value=torch.cat([value, labels], dim=1).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Segment B pictures from key [B, 64, N], value [B*K, 144, N] and previous masks [B*K, 1, 4h, 4w] or None.

        Returns:
            Logits [B*K, 1, 4h, 4w].
        """
        return self._decode(features, memory, previous, top_k)[0]

    def predict(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> FramePrediction:
        """Logits of `segment` and presence logits [B*K]; presence is None if the weights have no presence head."""
        logits, features16 = self._decode(features, memory, previous, top_k)
        if self.presence is None:
            return FramePrediction(logits)
        labels = memory.value[:, -LABEL_CHANNELS:].mean(dim=1)
        presence = self.presence(features16, logits, features.key.flatten(2), memory.key, labels)
        return FramePrediction(logits, presence)

    def _decode(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> tuple[Tensor, Tensor]:
        """Logits [B*K, 1, 4h, 4w] and the decoder's features at stride 16, [B*K, 96, h, w]."""
        height, width = features.key.shape[2:]
        readout = read_memory(memory, features.key.flatten(2), top_k)
        readout = readout.reshape(*readout.shape[:2], height, width)
        decoded: tuple[Tensor, Tensor] = self.decoder(features.maps, readout, expected_mask_input(previous, readout))
        return decoded
