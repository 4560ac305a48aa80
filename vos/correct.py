"""Carried masks repaired by the refiner, in the region around the objects.

Cost follows the objects and not the picture: only a box around them is looked at, in this frame and in the key frames
that it is matched with. Key frames that are remembered: the first one, and the nearest others in presentation order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codec.types import CompressedFrame
from vos.geometry import certainty
from vos.modeling import refiner as net
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import Memory
from vos.modeling.refiner import Refiner, RefinerFeatures
from vos.propagate import RESIDUAL_SCALE, Carried, mean_absolute
from vos.region import Region, region_around, resized
from vos.workers import one_thread

MEMORY_FRAMES = 3
"""Key regions that a frame is matched with."""
REMEMBERED = 5
"""Key regions that are kept, since the nearest ones of a frame to come are not known yet."""
KEPT_DOUBT = 0.5
"""Share of a cell's doubt that is left once it was repaired."""


@dataclass(frozen=True, slots=True)
class Care:
    """How closely the refiner looks.

    Attributes:
        trusted: Doubt below which a frame that nothing refers to stays as motion carried it.
        largest: Pixels of a region that the network sees as they are; a larger one is made smaller, at the same cost.
    """

    trusted: float
    largest: int


CARE = {"fast": Care(0.2, 512 * 512), "balanced": Care(0.1, 1 << 21), "best": Care(0.0, 1 << 21)}
"""By quality. The trust of `fast` costs half a point of J&F on training sequences."""


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
        region = region_around(soft, self._care.largest)
        if region is None:
            return light
        features = self._look(frame, region)
        region.paste(features.light[0].to(light.dtype), light)
        self._entries[frame.index] = self._refiner.memorize(features, region.cut(soft).unsqueeze(1))
        if len(self._entries) > REMEMBERED:
            del self._entries[self.keys[1]]
        return light

    def wants(self, frame: CompressedFrame, doubts: Tensor) -> bool:
        """Whether a frame with doubts [K] of its objects is worth a look: others stay as motion carried them."""
        return frame.is_reference or float(doubts.max()) >= self._care.trusted

    def repair(self, frame: CompressedFrame, carried: Carried) -> tuple[Carried, Tensor]:
        """Repair what motion carried to a frame.

        Returns:
            The repaired masks, and how far each object is to be doubted, float32 [K]: by how undecided its mask is.
            What has no object to look at, or no key frame to compare with, stays as it is.
        """
        region = region_around(carried.soft, self._care.largest)
        if region is None or not self._entries:
            return carried, carried.doubt_by_object()
        features = self._look(frame, region)
        told = self._told(frame, carried.doubt, region)
        confidence = self._refiner.confidence(features, region.cut(carried.light).unsqueeze(0))
        logits = self._refiner.refine(
            features, self._memory(frame.index), region.cut(carried.soft).unsqueeze(1), confidence, told
        )
        mended = self._pasted(carried, region, logits, features.light[0])
        region.paste(told[0, :1] * KEPT_DOUBT, mended.doubt.unsqueeze(0))
        return mended, _remaining_doubt(mended.soft)

    def _look(self, frame: CompressedFrame, region: Region) -> RefinerFeatures:
        pixels = np.ascontiguousarray(region.pixels(frame.rgb()))
        picture = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1).unsqueeze(0)
        step = (region.height / picture.shape[2], region.width / picture.shape[3])
        return self._refiner.encode(self._refiner.normalize(picture), region.top, region.left, step)

    @one_thread()
    def _told(self, frame: CompressedFrame, doubt: Tensor, region: Region) -> Tensor:
        """What the bitstream says of a region's cells, [1, 3, h, w]: doubt, mean absolute residual, lack of vectors."""
        residual = torch.from_numpy(mean_absolute(frame.residual) / RESIDUAL_SCALE).to(self._device)
        bare = torch.from_numpy(~frame.motion.covered).to(self._device, torch.float32)
        return region.cut(torch.stack([doubt, residual, bare])).unsqueeze(0)

    @one_thread()
    def _pasted(self, carried: Carried, region: Region, logits: Tensor, light: Tensor) -> Carried:
        """What was carried, with masks and light features of a region in place; outside it is nothing."""
        logits = resized(logits.float().squeeze(1), region.height, region.width)
        mended = soft_aggregate(torch.sigmoid(logits))[1:]
        whole = Carried(
            torch.zeros_like(carried.soft), torch.zeros_like(carried.light), carried.doubt.clone(), carried.support
        )
        region.paste(mended, whole.soft)
        region.paste(light.to(whole.light.dtype), whole.light)
        return whole

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
