"""`compact`, the default base network: a memory network in the manner of STCN on MobileNetV2, about 3 M parameters.

One key a frame serves all objects (STCN, Cheng et al., NeurIPS 2021). Two additions: value channels that hold the
memory frame's mask itself, so that the read also is an explicit label propagation (Space-Time Correspondence as in
Wang et al., "Learning Correspondence from the Cycle-consistency of Time", CVPR 2019), and the mask expected in the
frame as a decoder input. What depends on the picture alone is computed once and shared by its K objects.

Shapes: B pictures, K objects in each, H x W picture, s4 = [H/4, W/4] and so on. Tensors of objects have B * K rows,
those of one picture side by side; at inference B is 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.blocks import KEY_CHANNELS, LABEL_CHANNELS, SHARED_CHANNELS, initialize
from vos.modeling.cpu.packed_conv import convolve
from vos.modeling.fold import fold_scales
from vos.modeling.mask_decoder import MaskDecoder, expected_mask_input
from vos.modeling.memory_read import read_memory
from vos.modeling.mobilenet import TAP_CHANNELS, InvertedResidual, MobileNetV2
from vos.modeling.network import Features, FramePrediction, Memory, VOSNetwork
from vos.modeling.presence import PresenceHead
from vos.modeling.value_encoder import ValueEncoder, other_masks_stride4


class CompactNetwork(VOSNetwork):
    """The default base network."""

    name = "compact"
    optional = ("presence",)

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MobileNetV2()
        self.register_buffer("tap_scale", torch.ones(len(TAP_CHANNELS)))
        self.tap_scale: Tensor
        """1 / standard deviation of each tap, measured once on training pictures: the taps differ by orders."""
        self.folded = False
        self.shared = nn.Conv2d(TAP_CHANNELS[2] + TAP_CHANNELS[3], SHARED_CHANNELS, 1)
        self.key = nn.Conv2d(SHARED_CHANNELS, KEY_CHANNELS, 3, padding=1)
        self.value = ValueEncoder()
        self.decoder = MaskDecoder()
        self.presence: PresenceHead | None = PresenceHead(MaskDecoder.CHANNELS16)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("backbone."):
                initialize(module, gain=0.2 if name.endswith(".second") else 1.0)

    @torch.no_grad()
    def fold(self) -> None:
        """Merge what is linear: the scales of the taps with what reads them, the last projection with `shared`."""
        last = self.backbone.blocks[-1]
        if not isinstance(last, InvertedResidual) or isinstance(last.project, nn.Identity):
            return
        near_channels, hidden_channels = TAP_CHANNELS[2], last.project.in_channels
        near = self.shared.weight[:, :near_channels] * self.tap_scale[2]
        far = self.shared.weight[:, near_channels:] * self.tap_scale[3]
        weight = torch.cat([near, torch.einsum("oixy,ihxy->ohxy", far, last.project.weight)], dim=1)
        # Of a map of zeros, only the biases are left.
        nothing = last.project(weight.new_zeros(1, hidden_channels, 1, 1)) * self.tap_scale[3]
        bias = self.shared(torch.cat([nothing.new_zeros(1, near_channels, 1, 1), nothing], dim=1))
        self.shared = nn.Conv2d(near_channels + hidden_channels, SHARED_CHANNELS, 1).to(weight)
        self.shared.load_state_dict({"weight": weight, "bias": bias.flatten()})
        last.project = nn.Identity()  # type: ignore[assignment]
        value, decoder = self.value, self.decoder
        fold_scales(self.tap_scale, (value.picture4, decoder.picture4), (value.picture8, decoder.picture8), (), ())
        self.folded = True

    def normalize(self, rgb: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> -1..1, in the dtype of the weights."""
        return (rgb.to(torch.float32) / 127.5 - 1).to(self.tap_scale.dtype)

    def encode(self, image: Tensor) -> Features:
        """Normalised pictures [B, 3, H, W] -> key [B, 64, H/16, W/16]; maps 4: 24, 8: 32, 16: 128 channels."""
        taps = list(self.backbone(image))
        if not self.folded:
            taps = [tap * scale for tap, scale in zip(taps, self.tap_scale, strict=True)]
        shared = convolve(self.shared, torch.cat(taps[2:], dim=1), activation="relu")
        return Features(image=image, key=self.key(shared), maps={4: taps[0], 8: taps[1], 16: shared})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Features of B pictures, masks [B*K, 1, H, W] -> key [B, 64, h*w], value [B*K, 144, h*w]."""
        masks = masks.to(features.key.dtype)
        cells = functional.avg_pool2d(masks, 4)
        value = self.value(features.maps, masks, other_masks_stride4(masks, features.key.shape[0]))
        labels = functional.pixel_unshuffle(cells, 4)
        return Memory(key=features.key.flatten(2), value=torch.cat([value, labels], dim=1).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Features of B pictures, key [B, 64, N], value [B*K, 144, N], previous [B*K, 1, s4] -> logits [B*K, 1, s4]."""
        return self._decode(features, memory, previous, top_k)[0]

    def predict(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> FramePrediction:
        """The logits of `segment` and presence [B*K], which is None where the weights have no head for it."""
        logits, deep = self._decode(features, memory, previous, top_k)
        if self.presence is None:
            return FramePrediction(logits)
        labels = memory.value[:, -LABEL_CHANNELS:].mean(dim=1)
        return FramePrediction(logits, self.presence(deep, logits, features.key.flatten(2), memory.key, labels))

    def _decode(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> tuple[Tensor, Tensor]:
        """Logits [B*K, 1, s4], and the decoder's features at stride 16."""
        height, width = features.key.shape[2:]
        read = read_memory(memory, features.key.flatten(2), top_k)
        read = read.reshape(*read.shape[:2], height, width)
        decoded: tuple[Tensor, Tensor] = self.decoder(features.maps, read, expected_mask_input(previous, read))
        return decoded
