"""Parts that `compact` and the refiner share: one key a frame, values that hold masks, a decoder that is told a mask.

Shapes: B pictures, K objects in each, H x W picture, h x w = H/16 x W/16, s4 = [H/4, W/4] and so on. Tensors of objects
have B * K rows, those of one picture side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vos.modeling.fuse import convolve
from vos.modeling.memory_read import l2_affinity, read_top_k
from vos.modeling.mobilenet import TAP_CHANNELS
from vos.modeling.network import Memory
from vos.modeling.row_read import can_read_rows, read_rows

KEY_CHANNELS = 64
SHARED_CHANNELS = 128
VALUE_CHANNELS = 128
LABEL_CHANNELS = 16
"""Value channels that are the memory frame's mask: its 4 x 4 stride-4 cells under one stride-16 cell."""
_EXPECTED_CHANNELS = 5
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
        x = convolve(self.mask4, cells, add=per_object(self.picture4(maps[4]), objects), activation="relu")
        x = convolve(self.object8, x, add=per_object(self.picture8(maps[8]), objects), activation="relu")
        x = convolve(self.object16, x, add=per_object(self.picture16(maps[16]), objects))
        value: Tensor = self.mix(x)
        return value


class Decoder(nn.Module):
    """From what was read of memory to a logit at stride 4, with skip connections from the picture."""

    def __init__(self) -> None:
        super().__init__()
        stride4, stride8 = TAP_CHANNELS[:2]
        self.picture16 = nn.Conv2d(SHARED_CHANNELS, 96, 3, padding=1)
        self.object16 = nn.Conv2d(VALUE_CHANNELS + LABEL_CHANNELS + _EXPECTED_CHANNELS, 96, 3, padding=1, bias=False)
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
        labels = functional.pixel_shuffle(read[:, VALUE_CHANNELS:], 4)
        x = self.object16(torch.cat([read, hint], dim=1))
        x = double(self.object8(self.mix16(add_picture(self.picture16, maps[16], x), activation="relu")))
        x = double(self.object4(self.mix8(add_picture(self.picture8, maps[8], x), activation="relu")))
        x = convolve(self.label4, labels, add=add_picture(self.picture4, maps[4], x))
        logits: Tensor = self.out(self.mix4(x, activation="relu"))
        return logits


def add_picture(layer: nn.Module, picture: Tensor, x: Tensor) -> Tensor:
    """Sum of x [B*K, C, h, w] and, for each object, what a convolution makes of its picture [B, C', h, w]."""
    if len(x) == len(picture):
        return convolve(layer, picture, add=x)
    return x + per_object(layer(picture), len(x) // len(picture))


def other_masks(masks: Tensor, pictures: int) -> Tensor:
    """Masks [B*K, 1, H, W] of B pictures -> the sum of all others of the same picture, of the same shape."""
    by_picture = masks.view(pictures, -1, *masks.shape[1:])
    return (by_picture.sum(dim=1, keepdim=True) - by_picture).clamp(0, 1).flatten(0, 1)


def other_cells(masks: Tensor, pictures: int) -> Tensor:
    """The same at stride 4, [B*K, 1, H/4, W/4]."""
    if masks.shape[0] == pictures:
        return masks.new_zeros(pictures, 1, masks.shape[2] // 4, masks.shape[3] // 4)
    return functional.avg_pool2d(other_masks(masks, pictures), 4)


def read_memory(memory: Memory, query: Tensor, top_k: int) -> Tensor:
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


def expected_cells(previous: Tensor | None, read: Tensor) -> Tensor:
    """Expected masks [B*K, 1, 4h, 4w] -> decoder input [B*K, 5, h, w]; an unknown mask is all zeros."""
    rows, _, height, width = read.shape
    if previous is None:
        return read.new_zeros(rows, _EXPECTED_CHANNELS, height, width)
    cells = functional.pixel_unshuffle(functional.avg_pool2d(previous.to(read.dtype), 2), 2)
    hint = torch.cat([cells, torch.ones_like(cells[:, :1])], dim=1)
    return hint.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def fold_scales(scales: Tensor, *readers: tuple[nn.Conv2d, ...]) -> None:
    """Multiply the weights of the convolutions that read each map by its scale, and set the scale to 1."""
    for index, layers in enumerate(readers):
        for layer in layers:
            layer.weight.mul_(scales[index])
        scales[index] = 1


def per_object(x: Tensor, objects: int) -> Tensor:
    """[B, C, h, w] -> [B*K, C, h, w], the rows of one picture side by side."""
    return x if objects == 1 else x.repeat_interleave(objects, dim=0)


def double(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 2h, 2w], aligned by cell areas."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def initialize(layer: nn.Conv2d, gain: float) -> None:
    """He et al., ICCV 2015; a residual branch starts small, since no norm holds its size."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    with torch.no_grad():
        layer.weight.mul_(gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
