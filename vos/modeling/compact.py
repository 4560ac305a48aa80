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

from vos.modeling.fuse import convolve
from vos.modeling.memory_read import l2_affinity, read_top_k
from vos.modeling.mobilenet import TAP_CHANNELS, InvertedResidual, MobileNetV2
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.row_read import can_read_rows, read_rows

KEY_CHANNELS = 64
SHARED_CHANNELS = 128
VALUE_CHANNELS = 128
LABEL_CHANNELS = 16
"""Value channels that are the memory frame's mask: its 4 x 4 stride-4 cells under one stride-16 cell."""
_HINT_CHANNELS = 5
"""Decoder input: 2 x 2 stride-8 cells of the expected mask, and one that says whether a mask is expected at all."""


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3x3, without norm; the sum is activated if wanted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        """[B, C, h, w] -> the same shape."""
        hidden = convolve(self.first, functional.relu(x), activation="relu")
        return convolve(self.second, hidden, add=x, activation=activation)


class ValueEncoder(nn.Module):
    """What memory holds of an object at a frame: picture features and the masks of the object and of the others."""

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

    def forward(self, maps: dict[int, Tensor], masks: Tensor, others: Tensor) -> Tensor:
        """Picture maps of B pictures, masks [B*K, 1, H, W], others [B*K, 1, H/4, W/4] -> values [B*K, 128, h, w]."""
        objects = masks.shape[0] // maps[4].shape[0]
        cells = torch.cat([functional.pixel_unshuffle(masks, 4), others], dim=1)
        x = convolve(self.mask4, cells, add=_per_object(self.picture4(maps[4]), objects), activation="relu")
        x = convolve(self.object8, x, add=_per_object(self.picture8(maps[8]), objects), activation="relu")
        x = convolve(self.object16, x, add=_per_object(self.picture16(maps[16]), objects))
        value: Tensor = self.mix(x)
        return value


class Decoder(nn.Module):
    """From what was read of memory to a logit at stride 4, with skip connections from the picture."""

    def __init__(self) -> None:
        super().__init__()
        stride4, stride8 = TAP_CHANNELS[:2]
        self.picture16 = nn.Conv2d(SHARED_CHANNELS, 96, 3, padding=1)
        self.object16 = nn.Conv2d(VALUE_CHANNELS + LABEL_CHANNELS + _HINT_CHANNELS, 96, 3, padding=1, bias=False)
        self.mix16 = ResidualBlock(96)
        self.picture8 = nn.Conv2d(stride8, 64, 3, padding=1)
        self.object8 = nn.Conv2d(96, 64, 1, bias=False)
        self.mix8 = ResidualBlock(64)
        self.picture4 = nn.Conv2d(stride4, 32, 3, padding=1)
        self.object4 = nn.Conv2d(64, 32, 1, bias=False)
        self.label4 = nn.Conv2d(1, 32, 3, padding=1, bias=False)
        self.mix4 = ResidualBlock(32)
        self.out = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, maps: dict[int, Tensor], read: Tensor, hint: Tensor) -> Tensor:
        """Picture maps of B pictures, read [B*K, 144, h, w], hint [B*K, 5, h, w] -> logits [B*K, 1, 4h, 4w]."""
        objects = read.shape[0] // maps[4].shape[0]
        labels = functional.pixel_shuffle(read[:, VALUE_CHANNELS:], 4)
        picture16, picture8, picture4 = (
            _per_object(layer(maps[stride]), objects)
            for stride, layer in ((16, self.picture16), (8, self.picture8), (4, self.picture4))
        )
        x = convolve(self.object16, torch.cat([read, hint], dim=1), add=picture16)
        x = _double(self.object8(self.mix16(x, activation="relu")))
        x = _double(self.object4(self.mix8(x + picture8, activation="relu")))
        x = convolve(self.label4, labels, add=x + picture4)
        logits: Tensor = self.out(self.mix4(x, activation="relu"))
        return logits


class CompactNetwork(VOSNetwork):
    """The default base network."""

    name = "compact"

    def __init__(self) -> None:
        super().__init__()
        self.backbone = MobileNetV2()
        self.register_buffer("tap_scale", torch.ones(len(TAP_CHANNELS)))
        self.tap_scale: Tensor
        """1 / standard deviation of each tap, measured once on training pictures: the taps differ by orders."""
        self.shared = nn.Conv2d(TAP_CHANNELS[2] + TAP_CHANNELS[3], SHARED_CHANNELS, 1)
        self.key = nn.Conv2d(SHARED_CHANNELS, KEY_CHANNELS, 3, padding=1)
        self.value = ValueEncoder()
        self.decoder = Decoder()
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("backbone."):
                _initialize(module, gain=0.2 if name.endswith(".second") else 1.0)

    @torch.no_grad()
    def fold(self) -> None:
        """Merge the last block's projection with `shared`: both are linear, and nothing else looks between them."""
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
        self.tap_scale[2:] = 1

    def normalize(self, rgb: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> -1..1, in the dtype of the weights."""
        return (rgb.to(torch.float32) / 127.5 - 1).to(self.tap_scale.dtype)

    def encode(self, image: Tensor) -> Features:
        """Normalised pictures [B, 3, H, W] -> key [B, 64, H/16, W/16]; maps 4: 24, 8: 32, 16: 128 channels."""
        taps = [tap * scale for tap, scale in zip(self.backbone(image), self.tap_scale, strict=True)]
        shared = convolve(self.shared, torch.cat(taps[2:], dim=1), activation="relu")
        return Features(image=image, key=self.key(shared), maps={4: taps[0], 8: taps[1], 16: shared})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Features of B pictures, masks [B*K, 1, H, W] -> key [B, 64, h*w], value [B*K, 144, h*w]."""
        masks = masks.to(features.key.dtype)
        cells = functional.avg_pool2d(masks, 4)
        value = self.value(features.maps, masks, _others(masks, features.key.shape[0]))
        labels = functional.pixel_unshuffle(cells, 4)
        return Memory(key=features.key.flatten(2), value=torch.cat([value, labels], dim=1).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Features of B pictures, key [B, 64, N], value [B*K, 144, N], previous [B*K, 1, s4] -> logits [B*K, 1, s4]."""
        height, width = features.key.shape[2:]
        read = _read(memory, features.key.flatten(2), top_k)
        read = read.reshape(*read.shape[:2], height, width)
        logits: Tensor = self.decoder(features.maps, read, _hint(previous, read))
        return logits


def _others(masks: Tensor, pictures: int) -> Tensor:
    """Masks [B*K, 1, H, W] of B pictures -> the sum of all others at stride 4, [B*K, 1, H/4, W/4]."""
    if masks.shape[0] == pictures:
        return masks.new_zeros(pictures, 1, masks.shape[2] // 4, masks.shape[3] // 4)
    by_picture = masks.view(pictures, -1, *masks.shape[1:])
    others = (by_picture.sum(dim=1, keepdim=True) - by_picture).clamp(0, 1)
    return functional.avg_pool2d(others.flatten(0, 1), 4)


def _read(memory: Memory, query: Tensor, top_k: int) -> Tensor:
    """Key [B, 64, N], value [B*K, 144, N], query [B, 64, M] -> what each object reads, [B*K, 144, M]."""
    if can_read_rows(memory.key, query):
        rows = memory.value.permute(2, 0, 1).flatten(1)
        read = read_rows(memory.key[0].t(), rows, query[0].t(), top_k)
        return read.view(-1, *memory.value.shape[:2]).permute(1, 2, 0)
    # No distance notices a shift of keys and query, but bfloat16 has more bits for the differences near zero.
    centre = memory.key.float().mean(dim=2, keepdim=True)
    near, asked = ((x.float() - centre).to(x.dtype) for x in (memory.key, query))
    affinity = l2_affinity(near, asked)
    # Objects of one picture share its affinity, so they read as channels of one value.
    value = memory.value.reshape(query.shape[0], -1, memory.value.shape[2])
    return read_top_k(affinity, value, top_k).reshape(memory.value.shape[0], -1, query.shape[2])


def _hint(previous: Tensor | None, read: Tensor) -> Tensor:
    """Expected masks [B*K, 1, 4h, 4w] -> decoder input [B*K, 5, h, w]; an unknown mask is all zeros."""
    rows, _, height, width = read.shape
    if previous is None:
        return read.new_zeros(rows, _HINT_CHANNELS, height, width)
    cells = functional.pixel_unshuffle(functional.avg_pool2d(previous.to(read.dtype), 2), 2)
    hint = torch.cat([cells, torch.ones_like(cells[:, :1])], dim=1)
    return hint.contiguous(memory_format=torch.channels_last)


def _per_object(x: Tensor, objects: int) -> Tensor:
    """[B, C, h, w] -> [B*K, C, h, w], the rows of one picture side by side."""
    return x if objects == 1 else x.repeat_interleave(objects, dim=0)


def _double(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 2h, 2w], aligned by cell areas."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _initialize(layer: nn.Conv2d, gain: float) -> None:
    """He et al., ICCV 2015; a residual branch starts small, since no norm holds its size."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        layer.weight.mul_(gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
