"""The refiner: repairs masks that motion carried, by looking at the frame around the objects.

After Xu & Yao, CVPR 2022, sections 3.3 and 3.4: light features carried along with the masks say how far these are to be
believed, features are matched with those of key frames and read the masks there, and a small decoder joins it all with
what the bitstream says. Network and match are those of `compact`, cut off after the first ten blocks of the backbone,
whose weights the training starts from. It knows nothing of the base network but the masks that this one gave.

Shapes: B pictures, K objects in each, H x W the region that is looked at (multiples of 16), s4 = [H/4, W/4] and so on.
Tensors of objects have B * K rows, those of one picture side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.blocks import KEY_CHANNELS, SHARED_CHANNELS, VALUE_CHANNELS, initialize
from vos.modeling.cpu.packed_conv import convolve
from vos.modeling.fold import fold_scales
from vos.modeling.mask_decoder import MaskDecoder, add_picture, double, expected_mask_input
from vos.modeling.memory_read import read_memory
from vos.modeling.mobilenet import TAP_CHANNELS, MobileNetV2
from vos.modeling.network import Memory
from vos.modeling.value_encoder import ValueEncoder, other_masks, other_masks_stride4, per_object

STRIDE = 16
"""Height and width of a region must be multiples of this."""
LIGHT_CHANNELS = 8
"""Channels that are carried along with the masks, to compare what a block showed before with what it shows now."""
BITSTREAM_CHANNELS = 3
"""What the bitstream says of a cell: doubt so far, mean absolute residual / 64, and whether it has no vector."""
_BLOCKS = 10
"""Blocks of MobileNetV2 that are used: to 64 channels at stride 16."""
_TAPS = (2, 5, 9)
_DEEPEST = 64
_TOLD = BITSTREAM_CHANNELS + 3
"""MaskDecoder inputs a cell: evidence, confidence, the carried mask, and those of the other objects."""


@dataclass(frozen=True, slots=True, eq=False)
class RefinerFeatures:
    """What the refiner sees of B regions.

    Attributes:
        maps: By stride: 4: [B, 24, s4], 8: [B, 32, s8], 16: [B, 128, s16].
        key: Looks and place to match by, [B, 66, s16].
        light: Unit vectors that are carried along motion, [B, 8, s4].
    """

    maps: dict[int, Tensor]
    key: Tensor
    light: Tensor


class RefinerDecoder(MaskDecoder):
    """As `compact`'s, and beside what was read it sees the carried mask and the evidence, cell by cell."""

    def __init__(self) -> None:
        super().__init__()
        self.told8 = nn.Conv2d(4 * _TOLD, 64, 3, padding=1, bias=False)
        self.told4 = nn.Conv2d(_TOLD, 32, 3, padding=1, bias=False)

    def decode(self, maps: dict[int, Tensor], read: Tensor, hint: Tensor, told: Tensor) -> Tensor:
        """As `forward`, with told [B*K, 6, 4h, 4w]."""
        labels = functional.pixel_shuffle(read[:, VALUE_CHANNELS:], 4)
        x = self.object16(torch.cat([read, hint], dim=1))
        x = double(self.object8(self.mix16(add_picture(self.picture16, maps[16], x), activation="relu")))
        x = convolve(self.told8, functional.pixel_unshuffle(told, 2), add=add_picture(self.picture8, maps[8], x))
        x = double(self.object4(self.mix8(x, activation="relu")))
        x = convolve(self.told4, told, add=add_picture(self.picture4, maps[4], x))
        x = convolve(self.label4, labels, add=x)
        logits: Tensor = self.out(self.mix4(x, activation="relu"))
        return logits


class Refiner(nn.Module):
    """Carried masks and a look at the frame -> repaired masks."""

    def __init__(self) -> None:
        super().__init__()
        backbone = MobileNetV2()
        self.stem = backbone.stem
        self.blocks = nn.ModuleList(list(backbone.blocks)[:_BLOCKS])
        self.register_buffer("tap_scale", torch.ones(len(_TAPS)))
        self.tap_scale: Tensor
        """1 / standard deviation of each tap."""
        self.folded = False
        self.shared = nn.Conv2d(_DEEPEST, SHARED_CHANNELS, 3, padding=1)
        self.key = nn.Conv2d(SHARED_CHANNELS, KEY_CHANNELS, 3, padding=1)
        self.nearness = nn.Parameter(torch.tensor(0.1))
        """How much one step of distance at stride 16 counts in a match, in the key's units."""
        self.light = nn.Conv2d(TAP_CHANNELS[0], LIGHT_CHANNELS, 1)
        self.agreement = nn.Parameter(torch.tensor([4.0, 0.0]))
        """Factor and offset from the inner product of light features to the logit of a confidence."""
        self.value = ValueEncoder()
        self.decoder = RefinerDecoder()
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith(("stem", "blocks.")):
                initialize(module, gain=0.2 if name.endswith(".second") else 1.0)
        for added in (self.decoder.told8, self.decoder.told4):
            nn.init.zeros_(added.weight)

    def start_from(self, compact: dict[str, Tensor]) -> None:
        """Take over what `compact`'s state dict has under the same name or, for the backbone, place."""
        renamed = {name.removeprefix("backbone."): tensor for name, tensor in compact.items()}
        own = self.state_dict()
        fit = {name: tensor for name, tensor in renamed.items() if name in own and own[name].shape == tensor.shape}
        self.load_state_dict(fit, strict=False)
        with torch.no_grad():
            self.tap_scale[:2] = compact["tap_scale"][:2]

    def fold(self) -> None:
        """Merge the scales of the taps with what reads them: the same function at inference, in fewer passes."""
        value, decoder = self.value, self.decoder
        fold_scales(
            self.tap_scale,
            (value.picture4, decoder.picture4, self.light),
            (value.picture8, decoder.picture8),
            (self.shared,),
        )
        self.folded = True

    def normalize(self, rgb: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> -1..1, in the dtype of the weights."""
        return (rgb.to(torch.float32) / 127.5 - 1).to(self.tap_scale.dtype)

    def encode(
        self, image: Tensor, top: int = 0, left: int = 0, step: tuple[float, float] = (1.0, 1.0)
    ) -> RefinerFeatures:
        """Features of normalised regions [B, 3, H, W].

        Args:
            image: The regions.
            top: Pixels of the picture above them.
            left: Pixels of the picture left of them.
            step: Pixels of the picture, down and across, to one of the region: above 1 for a region made smaller.
        """
        taps = self.taps(image)
        if not self.folded:
            taps = [tap * scale for tap, scale in zip(taps, self.tap_scale, strict=True)]
        shared = convolve(self.shared, taps[2], activation="relu")
        looks = self.key(shared)
        key = torch.cat([looks, self._places(looks, (top / STRIDE, left / STRIDE), step)], dim=1)
        light = functional.normalize(self.light(taps[0]).float(), dim=1).to(looks.dtype)
        return RefinerFeatures({4: taps[0], 8: taps[1], 16: shared}, key, light)

    def memorize(self, features: RefinerFeatures, soft: Tensor) -> Memory:
        """What is remembered of key regions with soft masks [B*K, 1, s4]: key [B, 66, N], value [B*K, 144, N]."""
        soft = soft.to(features.key.dtype)
        # The value encoder takes masks at full size; it looks at them by 4 x 4 pixels.
        masks = functional.interpolate(soft, scale_factor=4, mode="bilinear", align_corners=False)
        value = self.value(features.maps, masks, other_masks_stride4(masks, len(features.key)))
        labels = functional.pixel_unshuffle(soft, 4)
        return Memory(features.key.flatten(2), torch.cat([value, labels], dim=1).flatten(2))

    def confidence(self, features: RefinerFeatures, propagated_light: Tensor) -> Tensor:
        """How far the carried light features [B, 8, s4] fit to the frame's own, logits [B, 1, s4]."""
        product = (features.light * propagated_light.to(features.light.dtype)).sum(dim=1, keepdim=True)
        return product * self.agreement[0] + self.agreement[1]

    def refine(  # noqa: PLR0917 - what is carried belongs together
        self, features: RefinerFeatures, memory: Memory, carried: Tensor, confidence: Tensor, evidence: Tensor,
        top_k: int = 20,
    ) -> Tensor:  # fmt: skip
        """Repair carried masks.

        Args:
            features: Of the B regions.
            memory: Of key regions.
            carried: Soft masks [B*K, 1, s4].
            confidence: Logits [B, 1, s4] that `confidence` gave.
            evidence: [B, 3, s4], see `BITSTREAM_CHANNELS`.
            top_k: Memory positions that one position reads from.

        Returns:
            Logits [B*K, 1, s4].
        """
        dtype = features.key.dtype
        height, width = features.key.shape[2:]
        carried = carried.to(dtype)
        objects = len(carried) // len(features.key)
        believed = torch.cat([evidence.to(dtype), torch.sigmoid(confidence)], dim=1)
        told = torch.cat([per_object(believed, objects), carried, other_masks(carried, len(features.key))], dim=1)
        read = read_memory(memory, features.key.flatten(2), top_k)
        read = read.reshape(*read.shape[:2], height, width)
        return self.decoder.decode(features.maps, read, expected_mask_input(carried, read), told)

    def taps(self, image: Tensor) -> list[Tensor]:
        """Backbone maps at strides 4, 8 and 16, not scaled."""
        x = convolve(self.stem, image, activation="relu6")
        taps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return taps

    def _places(self, looks: Tensor, corner: tuple[float, float], step: tuple[float, float]) -> Tensor:
        """Coordinates as two channels, in steps at stride 16 times `nearness`."""
        batch, _, height, width = looks.shape
        y, x = (
            (torch.arange(n, device=looks.device) + 0.5) * one - 0.5 + start
            for n, one, start in zip((height, width), step, corner, strict=True)
        )
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")) * self.nearness
        return grid.to(looks.dtype).expand(batch, -1, -1, -1)
