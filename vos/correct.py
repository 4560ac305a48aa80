"""Carried masks repaired by the refiner, in the region around the objects.

Cost follows the objects and not the picture: only a box around them is looked at, in this frame and in the key frames
that it is matched with. Key frames that are remembered: the first one, and the nearest others in presentation order.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, CompressedFrame, Float32Array, UInt8Array
from vos.geometry import certainty
from vos.modeling import refiner as net
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import Memory
from vos.modeling.refiner import Refiner, RefinerFeatures
from vos.propagate import RESIDUAL_SCALE, Carried, mean_absolute

MEMORY_FRAMES = 3
"""Key regions that a frame is matched with."""
REMEMBERED = 5
"""Key regions that are kept, since the nearest ones of a frame to come are not known yet."""
KEPT_DOUBT = 0.5
"""Share of a cell's doubt that is left once it was repaired."""
_PRESENT = 0.1
"""Soft mask from which a cell belongs to what is looked at."""
_SIDE_STEP = 64
"""Sides of a region are multiples of this many pixels, or the whole picture's: for every new shape the processor's
library prepares each layer anew, which takes longer than running it."""
_CRUMBS = 0.005
"""Share of an object's mass that is not worth a larger region."""
_MARGIN = 32
"""Pixels around the objects' box, in addition to a share of its size."""
_MARGIN_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Care:
    """How closely the refiner looks.

    Attributes:
        trusted: Doubt below which a frame that nothing refers to stays as motion carried it.
        largest: Pixels of a region that the network sees as they are; a larger one is made smaller, at the same cost.
    """

    trusted: float
    largest: int


CARE = {"fast": Care(0.2, 512 * 320), "balanced": Care(0.1, 1 << 21), "best": Care(0.0, 1 << 21)}
"""By quality. On training sequences the cap of `fast` costs half a point of J&F, and its trust another half."""


@dataclass(frozen=True, slots=True)
class Region:
    """A box of the analysis picture, in pixels; its sides are multiples of 16, so it may exceed the picture."""

    top: int
    left: int
    height: int
    width: int
    largest: int = CARE["best"].largest

    @property
    def cells(self) -> tuple[slice, slice]:
        """Its rows and columns of stride-4 cells."""
        top, left = self.top // STRIDE, self.left // STRIDE
        return slice(top, top + self.height // STRIDE), slice(left, left + self.width // STRIDE)

    @property
    def looked_at(self) -> tuple[int, int]:
        """(height, width) in pixels, multiples of 16, at which the network sees it: large regions are made smaller."""
        scale = min(1.0, (self.largest / (self.height * self.width)) ** 0.5)
        height, width = (max(1, round(side * scale / net.STRIDE)) * net.STRIDE for side in (self.height, self.width))
        return height, width

    def cut(self, channels: Tensor) -> Tensor:
        """[C, rows, columns] of the picture -> cells as the network sees them, 0 beyond the picture."""
        rows, columns = self.cells
        part = channels[:, rows, columns]
        below, right = self.height // STRIDE - part.shape[1], self.width // STRIDE - part.shape[2]
        part = F.pad(part, (0, right, 0, below)) if below or right else part
        return _resized(part, *self.looked_at)

    def paste(self, part: Tensor, onto: Tensor) -> None:
        """Write cells [C, h, w] as the network sees them into those of the picture [C, rows, columns]."""
        target = onto[:, *self.cells]
        part = _resized(part, self.height, self.width)
        target.copy_(part[:, : target.shape[1], : target.shape[2]])

    def pixels(self, picture: UInt8Array) -> UInt8Array:
        """[H, W, 3] of the picture -> what the network sees of it, its edge repeated beyond the picture."""
        part = picture[self.top : self.top + self.height, self.left : self.left + self.width]
        below, right = self.height - part.shape[0], self.width - part.shape[1]
        if below or right:
            part = np.pad(part, ((0, below), (0, right), (0, 0)), mode="edge")
        height, width = self.looked_at
        return part if part.shape[:2] == (height, width) else _shrunk(part, width, height)


def _resized(part: Tensor, height: int, width: int) -> Tensor:
    """Cells [C, h, w] -> those of a region of this many pixels."""
    size = (height // STRIDE, width // STRIDE)
    if part.shape[1:] == size:
        return part
    mode = "bilinear"
    return F.interpolate(part.unsqueeze(0), size=size, mode=mode, align_corners=False, antialias=True).squeeze(0)


def _shrunk(picture: UInt8Array, width: int, height: int) -> UInt8Array:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def region_around(soft: Tensor, care: Care = CARE["best"]) -> Region | None:
    """The box to look at for soft masks [K, rows, columns]; None where there is no object.

    Of each object the outermost half percent of its mass on every side is left out: crumbs that motion carried astray.
    """
    mass = soft.cpu().numpy()
    mass = np.where(mass > _PRESENT, mass, np.float32(0))
    there = mass.any(axis=(1, 2))
    if not there.any():
        return None
    top, height = _span([_bulk(plane.sum(axis=1)) for plane in mass[there]], mass.shape[1])
    left, width = _span([_bulk(plane.sum(axis=0)) for plane in mass[there]], mass.shape[2])
    return Region(top, left, height, width, care.largest)


def _bulk(mass: Float32Array) -> tuple[int, int]:
    """First and last cell of an axis between which all but the crumbs of an object lie."""
    below = np.cumsum(mass) / mass.sum()
    return int(np.argmax(below > _CRUMBS)), int(np.argmax(below >= 1 - _CRUMBS))


def _span(bulks: list[tuple[int, int]], cells: int) -> tuple[int, int]:
    """Start and length in pixels of an axis, from where the objects lie and the number of cells."""
    first = min(bulk[0] for bulk in bulks) * STRIDE
    last = (max(bulk[1] for bulk in bulks) + 1) * STRIDE
    margin = _MARGIN + int(_MARGIN_SHARE * (last - first))
    whole = -(-cells * STRIDE // net.STRIDE) * net.STRIDE
    length = min(whole, -(-(last - first + 2 * margin) // _SIDE_STEP) * _SIDE_STEP)
    start = (first + last - length) // 2 // net.STRIDE * net.STRIDE
    return min(max(0, start), whole - length), length


class Correction:
    """The refiner at work on one video.

    Args:
        refiner: In eval mode.
        keys: What `keys` was in a run that goes on here. Those frames must be remembered again, in any order, before
            a frame is repaired.
        care: How closely it looks.
    """

    def __init__(self, refiner: Refiner, keys: tuple[int, ...] = (), care: Care = CARE["best"]) -> None:
        self._refiner = refiner
        self._care = care
        parameter = next(refiner.parameters())
        self._device = parameter.device
        self._entries: dict[int, Memory | None] = dict.fromkeys(keys)

    @property
    def keys(self) -> tuple[int, ...]:
        """Presentation indices of the key frames that are remembered, the first one first."""
        return tuple(self._entries)

    def remember(self, frame: CompressedFrame, soft: Tensor) -> Tensor:
        """Take a key frame with its soft masks [K, rows, columns]; gives its light features [8, rows, columns]."""
        light = soft.new_zeros(net.LIGHT_CHANNELS, *soft.shape[1:])
        region = region_around(soft, self._care)
        if region is None:
            return light
        features = self._look(frame, region)
        region.paste(features.light[0].to(light.dtype), light)
        self._entries[frame.index] = self._refiner.memorize(features, region.cut(soft).unsqueeze(1))
        if len(self._entries) > REMEMBERED:
            del self._entries[self.keys[1]]
        return light

    def repair(self, frame: CompressedFrame, carried: Carried) -> tuple[Carried, Tensor]:
        """Repair what motion carried to a frame.

        Returns:
            The repaired masks, and how far each object is to be doubted, float32 [K]: by how undecided its mask is.
            What has no object to look at, or no key frame to compare with, stays as it is.
        """
        doubts = carried.doubt_by_object()
        region = region_around(carried.soft, self._care)
        if region is None or not self._entries or (not frame.is_reference and float(doubts.max()) < self._care.trusted):
            return carried, doubts
        features = self._look(frame, region)
        confidence = self._refiner.confidence(features, region.cut(carried.light).unsqueeze(0))
        told = region.cut(torch.stack([carried.doubt, *self._evidence(frame)])).unsqueeze(0)
        logits = self._refiner.refine(
            features, self._memory(frame.index), region.cut(carried.soft).unsqueeze(1), confidence, told
        )
        logits = _resized(logits.float().squeeze(1), region.height, region.width)
        mended = soft_aggregate(torch.sigmoid(logits))[1:]
        soft, light, doubt = torch.zeros_like(carried.soft), torch.zeros_like(carried.light), carried.doubt.clone()
        region.paste(mended, soft)
        region.paste(features.light[0].to(light.dtype), light)
        region.paste(told[0, :1] * KEPT_DOUBT, doubt.unsqueeze(0))
        return Carried(soft, light, doubt, carried.support), _remaining_doubt(mended)

    def _look(self, frame: CompressedFrame, region: Region) -> RefinerFeatures:
        pixels = np.ascontiguousarray(region.pixels(frame.rgb()))
        picture = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1).unsqueeze(0)
        step = (region.height / picture.shape[2], region.width / picture.shape[3])
        return self._refiner.encode(self._refiner.normalize(picture), region.top, region.left, step)

    def _evidence(self, frame: CompressedFrame) -> tuple[Tensor, Tensor]:
        """Mean absolute residual and lack of vectors of each cell, as the refiner takes them."""
        residual = torch.from_numpy(mean_absolute(frame.residual) / RESIDUAL_SCALE).to(self._device)
        bare = torch.from_numpy(~frame.motion.covered).to(self._device, torch.float32)
        return residual, bare

    def _memory(self, index: int) -> Memory:
        """What the nearest key regions hold, side by side."""
        first, *others = self._entries
        nearest = sorted(others, key=lambda key: abs(key - index))[: MEMORY_FRAMES - 1]
        entries = [entry for key in (first, *nearest) if (entry := self._entries[key]) is not None]
        return Memory(torch.cat([e.key for e in entries], dim=2), torch.cat([e.value for e in entries], dim=2))


def _remaining_doubt(mended: Tensor) -> Tensor:
    """Twice what repaired masks [K, h, w] lack of certainty, [K]; 0 for an object that is not there.

    On training sequences certainty ranks repaired masks by their J (Spearman 0.6, against 0.4 for a head that was
    trained to predict J), and 1 - J is about twice what it lacks.
    """
    certain = torch.from_numpy(certainty(mended.cpu().numpy())).to(mended)
    return torch.where(certain > 0, (2 * (1 - certain)).clamp(0, 1), torch.zeros_like(certain))
