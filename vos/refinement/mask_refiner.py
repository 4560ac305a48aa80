"""Carried masks repaired by the refiner, in the region around the objects.

Cost follows the objects and not the picture: only a box around them is looked at, in this frame and in the key frames
that it is matched with. Key frames that are remembered: the first one, and the nearest others in presentation order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codec.types import CompressedFrame, FrameType
from vos.geometry import certainty
from vos.modeling import refiner as net
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import Memory
from vos.modeling.refiner import Refiner, RefinerFeatures
from vos.propagation.propagate import Carried
from vos.propagation.uncertainty import KEPT_DOUBT, RESIDUAL_SCALE, mean_absolute
from vos.refinement.region import WHOLE, Region, edge_share, region_around, resized
from vos.runtime.thread_pools import one_thread

MEMORY_FRAMES = 3
"""Key regions that a frame is matched with."""
REMEMBERED = 5
"""Key regions that are kept, since the nearest ones of a frame to come are not known yet."""


@dataclass(frozen=True, slots=True)
class Care:
    """How closely the refiner looks.

    Attributes:
        trusted: Doubt below which a frame that nothing refers to stays as motion carried it.
        trusted_between: The same for B frames that others refer to: what is wrong there is carried on, but not far.
        stout, plain: Pixels of a region that the network sees as they are, where the objects are stout, or neither
            that nor thin; a larger region is made smaller, at the same cost.
    """

    trusted: float
    trusted_between: float
    stout: int
    plain: int

    def largest(self, edges: float) -> int:
        """Pixels of a region that the network sees as they are, for objects with this `edge_share` in a key frame."""
        return self.stout if edges < STOUT else self.plain if edges < THIN else WHOLE


STOUT, THIN = 0.14, 0.33
"""Below this share of cells that are filled in part only, objects are stout and lose little when they are seen smaller;
from that one they are thin, and kites and spokes would be lost."""
CARE = {
    "fast": Care(0.2, 0.1, 224 * 224, 288 * 288),
    "balanced": Care(0.1, 0.0, 272 * 272, 384 * 384),
    "best": Care(0.0, 0.0, WHOLE, WHOLE),
}
"""By quality."""


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    """What is remembered of a key frame.

    Attributes:
        memory: Keys and values of its region.
        largest: Pixels of a region that the network sees as they are, by the shape of its objects.
    """

    memory: Memory
    largest: int


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
        self._entries: dict[int, _Key | None] = dict.fromkeys(keys)

    @property
    def keys(self) -> tuple[int, ...]:
        """Presentation indices of the key frames that are remembered, the first one first."""
        return tuple(self._entries)

    def remember(self, frame: CompressedFrame, soft: Tensor) -> Tensor:
        """Take a key frame with its soft masks [K, rows, columns]; gives its light features [8, rows, columns]."""
        light = soft.new_zeros(net.LIGHT_CHANNELS, *soft.shape[1:])
        largest = self._care.largest(edge_share(soft))
        region = region_around(soft, largest)
        if region is None:
            return light
        features = self._look(frame, region)
        region.paste(features.light[0].to(light.dtype), light)
        self._entries[frame.index] = _Key(self._refiner.memorize(features, region.cut(soft).unsqueeze(1)), largest)
        if len(self._entries) > REMEMBERED:
            del self._entries[self.keys[1]]
        return light

    def wants(self, frame: CompressedFrame, doubts: Tensor) -> bool:
        """Whether a frame with doubts [K] of its objects is worth a look: others stay as motion carried them.

        An I or P frame always is, if others refer to it: all that come after may go wrong with it.
        """
        if not frame.is_reference:
            return float(doubts.max()) >= self._care.trusted
        return frame.type is not FrameType.B or float(doubts.max()) >= self._care.trusted_between

    def repair(self, frame: CompressedFrame, carried: Carried) -> tuple[Carried, Tensor]:
        """Repair what motion carried to a frame.

        Returns:
            The repaired masks, and how far each object is to be doubted, float32 [K]: by how undecided its mask is.
            What has no object to look at, or no key frame to compare with, stays as it is.
        """
        keys = self._nearest(frame.index)
        # Shapes as in the nearest key frame: on the way edges blur, and sizes should not change from frame to frame.
        region = region_around(carried.soft, keys[-1].largest) if keys else None
        if region is None:
            return carried, carried.doubt_by_object()
        features = self._look(frame, region)
        told = self._told(frame, carried.doubt, region)
        confidence = self._refiner.confidence(features, region.cut(carried.light).unsqueeze(0))
        logits = self._refiner.refine(
            features, _side_by_side(keys), region.cut(carried.soft).unsqueeze(1), confidence, told
        )
        mended = self._pasted(carried, region, logits, features.light[0])
        region.paste(told[0, :1] * KEPT_DOUBT, mended.doubt.unsqueeze(0))
        return mended, undecided(mended.soft)

    def _look(self, frame: CompressedFrame, region: Region) -> RefinerFeatures:
        pixels = np.ascontiguousarray(region.pixels(frame.rgb()))
        picture = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1).unsqueeze(0)
        step = (region.height / picture.shape[2], region.width / picture.shape[3])
        return self._refiner.encode(self._refiner.normalize(picture), region.top, region.left, step)

    @one_thread()
    def _told(self, frame: CompressedFrame, doubt: Tensor, region: Region) -> Tensor:
        """What the bitstream says of a region's cells, [1, 3, h, w]: doubt, mean absolute residual, lack of vectors."""
        rows, columns = region.cells
        pixels = frame.residual[region.top : region.top + region.height, region.left : region.left + region.width]
        residual = torch.from_numpy(mean_absolute(pixels) / RESIDUAL_SCALE).to(self._device)
        bare = torch.from_numpy(~frame.motion.covered[rows, columns]).to(self._device, torch.float32)
        return region.fit(torch.stack([doubt[rows, columns], residual, bare])).unsqueeze(0)

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

    def _nearest(self, index: int) -> list[_Key]:
        """What is remembered of the first key frame and the nearest others, the nearest of all last."""
        if not self._entries:
            return []
        first, *others = self._entries
        by_distance = sorted(others, key=lambda key: abs(key - index))[: MEMORY_FRAMES - 1]
        chosen = [first, *reversed(by_distance)]
        return [entry for key in chosen if (entry := self._entries[key]) is not None]


def _side_by_side(keys: list[_Key]) -> Memory:
    memories = [key.memory for key in keys]
    return Memory(torch.cat([m.key for m in memories], dim=2), torch.cat([m.value for m in memories], dim=2))


def undecided(soft: Tensor) -> Tensor:
    """Twice what soft masks [K, h, w] lack of certainty, [K]; 0 for an object that is not there.

    On training sequences certainty ranks repaired masks by their J (Spearman 0.6, against 0.4 for a head that was
    trained to predict J), and 1 - J is about twice what it lacks.
    """
    certain = torch.from_numpy(certainty(soft.cpu().numpy())).to(soft)
    return torch.where(certain > 0, (2 * (1 - certain)).clamp(0, 1), torch.zeros_like(certain))
