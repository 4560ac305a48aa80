"""The refiner: a small network that refines propagated masks from the picture around the objects.

After Xu & Yao, CVPR 2022, sections 3.3 and 3.4: light features are propagated with the masks and show where these can
be trusted; the frame's features are matched with those of key frames to read their masks; a small decoder joins both
with the bitstream features. Layers and memory read are those of `compact`, cut off after ten blocks of the backbone;
training starts from its weights. The refiner works with any base network: it only sees that network's masks.

Shapes: B pictures with K objects each, H x W the pixels of the region (multiples of 16), h x w = H/16 x W/16, N memory
positions. Tensors of objects have B * K rows, the objects of one picture side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.blocks import (
    KEY_CHANNELS,
    SHARED_CHANNELS,
    VALUE_CHANNELS,
    add_picture,
    initialize_convolutions,
    per_object,
    upsample,
)
from vos.modeling.cpu.packed_conv import convolve
from vos.modeling.fold import fold_scales
from vos.modeling.mask_decoder import MaskDecoder, expected_mask_input
from vos.modeling.memory_read import read_memory
from vos.modeling.mobilenet import TAP_CHANNELS, MobileNetV2, normalize
from vos.modeling.network import Memory
from vos.modeling.parts import COARSEST, Part, cut_parts
from vos.modeling.value_encoder import ValueEncoder, other_masks, other_masks_stride4

STRIDE = COARSEST
"""Height and width of a region must be multiples of this."""
LIGHT_CHANNELS = 8
"""Channels that are propagated with the masks, to compare a block's old content with its new one."""
BITSTREAM_CHANNELS = 3
"""Bitstream features per cell: uncertainty so far, mean absolute residual / 64, whether the cell has no vector."""
_BLOCKS = 10
"""Blocks of MobileNetV2 that are used, up to 64 channels at stride 16."""
_TAPS = (2, 5, 9)
_DEEPEST_CHANNELS = 64
_CELL_CHANNELS = BITSTREAM_CHANNELS + 3
"""Decoder inputs per stride-4 cell: bitstream features, confidence, propagated mask, other objects' masks."""


@dataclass(frozen=True, slots=True, eq=False)
class RefinerFeatures:
    """Features of B regions.

    Attributes:
        maps: Feature maps by stride: 4: [B, 24, 4h, 4w], 8: [B, 32, 2h, 2w], 16: [B, 128, h, w].
        key: Appearance and position to match by, [B, 66, h, w].
        light: Unit vectors that are propagated with the masks, [B, 8, 4h, 4w].
    """

    maps: dict[int, Tensor]
    key: Tensor
    light: Tensor


class RefinerDecoder(MaskDecoder):
    """The decoder of `compact` with the propagated mask and the bitstream features as further inputs.

    `told8` and `told4` read these inputs; the names are those in published weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told8 = nn.Conv2d(4 * _CELL_CHANNELS, 64, 3, padding=1, bias=False)
        self.told4 = nn.Conv2d(_CELL_CHANNELS, 32, 3, padding=1, bias=False)

    def decode(self, maps: dict[int, Tensor], readout: Tensor, expected: Tensor, cells: Tensor) -> Tensor:
        """Decode as `forward` does, with cells [B*K, 6, 4h, 4w] as further input -> logits [B*K, 1, 4h, 4w]."""
        labels = functional.pixel_shuffle(readout[:, VALUE_CHANNELS:], 4)
        x = self.object16(torch.cat([readout, expected], dim=1))
        x = upsample(self.object8(self.mix16(add_picture(self.picture16, maps[16], x), activation="relu")))
        x = convolve(self.told8, functional.pixel_unshuffle(cells, 2), add=add_picture(self.picture8, maps[8], x))
        x = upsample(self.object4(self.mix8(x, activation="relu")))
        x = convolve(self.told4, cells, add=add_picture(self.picture4, maps[4], x))
        x = convolve(self.label4, labels, add=x)
        logits: Tensor = self.out(self.mix4(x, activation="relu"))
        return logits


class Refiner(nn.Module):
    """Refines propagated masks: `encode` and `memorize` key regions, then `confidence` and `refine` per frame."""

    int8_parts = ("maps", "decoder.decode")
    compute_dtype: str | None = None
    """See `VOSNetwork`."""

    def __init__(self) -> None:
        super().__init__()
        backbone = MobileNetV2()
        self.stem = backbone.stem
        self.blocks = nn.ModuleList(list(backbone.blocks)[:_BLOCKS])
        self.register_buffer("tap_scale", torch.ones(len(_TAPS)))
        self.tap_scale: Tensor
        """1 / standard deviation of each tap."""
        self.folded = False
        self.shared = nn.Conv2d(_DEEPEST_CHANNELS, SHARED_CHANNELS, 3, padding=1)
        self.key = nn.Conv2d(SHARED_CHANNELS, KEY_CHANNELS, 3, padding=1)
        self.nearness = nn.Parameter(torch.tensor(0.1))
        """Weight of the distance of one stride-16 cell in a match, in units of the key."""
        self.light = nn.Conv2d(TAP_CHANNELS[0], LIGHT_CHANNELS, 1)
        self.agreement = nn.Parameter(torch.tensor([4.0, 0.0]))
        """Factor and offset from the inner product of light features to the confidence logit."""
        self.value = ValueEncoder()
        self.decoder = RefinerDecoder()
        initialize_convolutions(self, pretrained=("stem", "blocks."))
        for added in (self.decoder.told8, self.decoder.told4):
            nn.init.zeros_(added.weight)

    def start_from(self, compact: dict[str, Tensor]) -> None:
        """Copy all tensors of `compact`'s state dict that have the same name (without `backbone.`) and shape here."""
        renamed = {name.removeprefix("backbone."): tensor for name, tensor in compact.items()}
        own = self.state_dict()
        fit = {name: tensor for name, tensor in renamed.items() if name in own and own[name].shape == tensor.shape}
        self.load_state_dict(fit, strict=False)
        with torch.no_grad():
            self.tap_scale[:2] = compact["tap_scale"][:2]

    def fold(self) -> None:
        """Merge the tap scales into the layers after them: the same function at inference, with fewer passes."""
        value, decoder = self.value, self.decoder
        fold_scales(
            self.tap_scale,
            (value.picture4, decoder.picture4, self.light),
            (value.picture8, decoder.picture8),
            (self.shared,),
        )
        self.folded = True

    def normalize(self, rgb: Tensor) -> Tensor:
        """Regions uint8 [B, 3, H, W] -> [B, 3, H, W] in -1..1, in the dtype of the weights."""
        return normalize(rgb, self.tap_scale.dtype)

    def encode(
        self, image: Tensor, top: int = 0, left: int = 0, step: tuple[float, float] = (1.0, 1.0)
    ) -> RefinerFeatures:
        """Encode normalized regions [B, 3, H, W].

        Args:
            image: The regions.
            top: Row of the picture where the regions begin, in pixels.
            left: Column of the picture where the regions begin, in pixels.
            step: Pixels of the picture per pixel of the region, down and across; above 1 for a downscaled region.
        """
        stride4, stride8, stride16, appearance, light = self.maps(image)
        key = torch.cat([appearance, self._positions(appearance, (top / STRIDE, left / STRIDE), step)], dim=1)
        light = functional.normalize(light.float(), dim=1).to(appearance.dtype)
        return RefinerFeatures({4: stride4, 8: stride8, 16: stride16}, key, light)

    def maps(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Normalized regions [B, 3, H, W] -> maps at strides 4, 8 and 16, appearance key, light features."""
        taps = self.taps(image)
        if not self.folded:
            taps = [tap * scale for tap, scale in zip(taps, self.tap_scale, strict=True)]
        shared = convolve(self.shared, taps[2], activation="relu")
        return taps[0], taps[1], shared, self.key(shared), self.light(taps[0])

    def memorize(self, features: RefinerFeatures, soft: Tensor) -> Memory:
        """Key regions and soft masks [B*K, 1, 4h, 4w] -> key [B, 66, h*w], value [B*K, 144, h*w]."""
        soft = soft.to(features.key.dtype)
        # The value encoder takes masks at full size and unshuffles them by 4 x 4 pixels.
        masks = functional.interpolate(soft, scale_factor=4, mode="bilinear", align_corners=False)
        value = self.value(features.maps, masks, other_masks_stride4(masks, len(features.key)))
        labels = functional.pixel_unshuffle(soft, 4)
        return Memory(features.key.flatten(2), torch.cat([value, labels], dim=1).flatten(2))

    def confidence(self, features: RefinerFeatures, propagated_light: Tensor) -> Tensor:
        """Agreement of propagated light features [B, 8, 4h, 4w] with the frame's own -> logits [B, 1, 4h, 4w]."""
        product = (features.light * propagated_light.to(features.light.dtype)).sum(dim=1, keepdim=True)
        return product * self.agreement[0] + self.agreement[1]

    def refine(  # noqa: PLR0917 - propagated values belong together
        self, features: RefinerFeatures, memory: Memory, propagated: Tensor, confidence: Tensor, bitstream: Tensor,
        top_k: int = 20, parts: Sequence[Part] | None = None,
    ) -> Tensor:  # fmt: skip
        """Refine propagated masks.

        Args:
            features: Features of the B regions.
            memory: Memory of key regions, key [B, 66, N] and value [B*K, 144, N].
            propagated: Soft masks [B*K, 1, 4h, 4w].
            confidence: Logits [B, 1, 4h, 4w] from `confidence`.
            bitstream: Bitstream features [B, 3, 4h, 4w], see `BITSTREAM_CHANNELS`.
            top_k: Memory positions that each query position reads.
            parts: Part of a single region that each object is decoded in, all of one size h' x w'; None for all of it.

        Returns:
            Logits [B*K, 1, 4h, 4w], with parts [K, 1, 4h', 4w'].
        """
        dtype = features.key.dtype
        height, width = features.key.shape[2:]
        propagated = propagated.to(dtype)
        objects = len(propagated) // len(features.key)
        shared = torch.cat([bitstream.to(dtype), torch.sigmoid(confidence)], dim=1)
        others = other_masks(propagated, len(features.key))
        cells = torch.cat([per_object(shared, objects), propagated, others], dim=1)
        readout = read_memory(memory, features.key.flatten(2), top_k)
        readout = readout.reshape(*readout.shape[:2], height, width)
        maps, expected = features.maps, expected_mask_input(propagated, readout)
        if parts is not None:
            maps = {stride: cut_parts(of_stride, parts, stride) for stride, of_stride in maps.items()}
            readout, expected = (cut_parts(x, parts, STRIDE) for x in (readout, expected))
            cells = cut_parts(cells, parts, 4)
        return self.decoder.decode(maps, readout, expected, cells)

    def taps(self, image: Tensor) -> list[Tensor]:
        """Normalized regions [B, 3, H, W] -> unscaled backbone maps of 24, 32 and 64 channels at strides 4, 8, 16."""
        x = convolve(self.stem, image, activation="relu6")
        taps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return taps

    def _positions(self, key: Tensor, corner: tuple[float, float], step: tuple[float, float]) -> Tensor:
        """Position channels [B, 2, h, w] of a key [B, C, h, w]: stride-16 coordinates (y, x) times `nearness`."""
        batch, _, height, width = key.shape
        y, x = (
            (torch.arange(n, device=key.device) + 0.5) * one - 0.5 + start
            for n, one, start in zip((height, width), step, corner, strict=True)
        )
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")) * self.nearness
        return grid.to(key.dtype).expand(batch, -1, -1, -1)
