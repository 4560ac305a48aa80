"""Propagated masks refined by the refiner, in the region around the objects.

Cost follows the objects and not the picture: only a box around them is looked at, in this frame and in the key frames
that it is matched with. Key frames that are refiner_keys: the first one, and the nearest others in presentation order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codec.types import CompressedFrame, FrameType
from vos.geometry import mask_confidence
from vos.modeling import refiner as net
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import Memory
from vos.modeling.refiner import Refiner, RefinerFeatures
from vos.propagation.propagate import Propagated
from vos.propagation.uncertainty import RESIDUAL_SCALE, UNCERTAINTY_AFTER_REFINEMENT, mean_absolute
from vos.refinement.region import UNLIMITED, Region, edge_share, region_around, resize_grid
from vos.runtime.thread_pools import one_thread

MATCHED_KEYFRAMES = 3
"""Key regions that a frame is matched with."""
KEPT_KEYFRAMES = 5
"""Key regions that are kept, since the nearest ones of a frame to come are not known yet."""


@dataclass(frozen=True, slots=True)
class RefineBudget:
    """How closely the refiner looks.

    Attributes:
        skip_below: Doubt below which a frame that nothing refers to stays as motion propagated it.
        skip_b_below: The same for B frames that others refer to: what is wrong there is propagated on, but not far.
        solid_pixels, plain: Pixels of a region that the network sees as they are, where the objects are solid_pixels, or neither
            that nor thin; a larger region is made smaller, at the same cost.
    """

    skip_below: float
    skip_b_below: float
    solid_pixels: int
    mixed_pixels: int

    def full_resolution_pixels(self, edges: float) -> int:
        """Pixels of a region that the network sees as they are, for objects with this `edge_share` in a key frame."""
        return self.solid_pixels if edges < STOUT else self.mixed_pixels if edges < THIN else UNLIMITED


STOUT, THIN = 0.14, 0.33
"""Below this share of cells that are filled in part only, objects are solid_pixels and lose little when they are seen smaller;
from that one they are thin, and kites and spokes would be lost."""
BUDGETS = {
    "fast": RefineBudget(0.2, 0.1, 224 * 224, 288 * 288),
    "balanced": RefineBudget(0.1, 0.0, 272 * 272, 384 * 384),
    "best": RefineBudget(0.0, 0.0, UNLIMITED, UNLIMITED),
}
"""By quality."""


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    """What is refiner_keys of a key frame.

    Attributes:
        memory: Keys and values of its region.
        max_pixels: Pixels of a region that the network sees as they are, by the shape of its objects.
    """

    memory: Memory
    max_pixels: int


class MaskRefiner:
    """The refiner at work on one video.

    Args:
        refiner: In eval mode.
        keys: What `keys` was in a run that goes on here. Those frames must be refiner_keys again, in any order, before
            a frame is refined.
        budget: How closely it looks.
    """

    def __init__(self, refiner: Refiner, keys: tuple[int, ...] = (), budget: RefineBudget = BUDGETS["best"]) -> None:
        self._refiner = refiner
        self._budget = budget
        parameter = next(refiner.parameters())
        self._device = parameter.device
        self._entries: dict[int, _Key | None] = dict.fromkeys(keys)

    @property
    def keys(self) -> tuple[int, ...]:
        """Presentation indices of the key frames that are refiner_keys, the first one first."""
        return tuple(self._entries)

    def add_keyframe(self, frame: CompressedFrame, soft: Tensor) -> Tensor:
        """Take a key frame with its soft masks [K, rows, columns]; gives its light features [8, rows, columns]."""
        light = soft.new_zeros(net.LIGHT_CHANNELS, *soft.shape[1:])
        max_pixels = self._budget.full_resolution_pixels(edge_share(soft))
        region = region_around(soft, max_pixels)
        if region is None:
            return light
        features = self._look(frame, region)
        region.paste(features.light[0].to(light.dtype), light)
        self._entries[frame.index] = _Key(self._refiner.memorize(features, region.cut(soft).unsqueeze(1)), max_pixels)
        if len(self._entries) > KEPT_KEYFRAMES:
            del self._entries[self.keys[1]]
        return light

    def needs_refinement(self, frame: CompressedFrame, doubts: Tensor) -> bool:
        """Whether a frame with doubts [K] of its objects is worth a look: others stay as motion propagated them.

        An I or P frame always is, if others refer to it: all that come after may go wrong with it.
        """
        if not frame.is_reference:
            return float(doubts.max()) >= self._budget.skip_below
        return frame.type is not FrameType.B or float(doubts.max()) >= self._budget.skip_b_below

    def refine(self, frame: CompressedFrame, propagated: Propagated) -> tuple[Propagated, Tensor]:
        """Repair what motion propagated to a frame.

        Returns:
            The refined masks, and how far each object is to be doubted, float32 [K]: by how mask_uncertainty its mask is.
            What has no object to look at, or no key frame to compare with, stays as it is.
        """
        keys = self._nearest(frame.index)
        # Shapes as in the nearest key frame: on the way edges blur, and sizes should not change from frame to frame.
        region = region_around(propagated.soft, keys[-1].max_pixels) if keys else None
        if region is None:
            return propagated, propagated.uncertainty_per_object()
        features = self._look(frame, region)
        told = self._told(frame, propagated.uncertainty, region)
        confidence = self._refiner.confidence(features, region.cut(propagated.light).unsqueeze(0))
        logits = self._refiner.refine(
            features, _side_by_side(keys), region.cut(propagated.soft).unsqueeze(1), confidence, told
        )
        mended = self._pasted(propagated, region, logits, features.light[0])
        region.paste(told[0, :1] * UNCERTAINTY_AFTER_REFINEMENT, mended.uncertainty.unsqueeze(0))
        return mended, mask_uncertainty(mended.soft)

    def _look(self, frame: CompressedFrame, region: Region) -> RefinerFeatures:
        pixels = np.ascontiguousarray(region.pixels(frame.rgb()))
        picture = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1).unsqueeze(0)
        step = (region.height / picture.shape[2], region.width / picture.shape[3])
        return self._refiner.encode(self._refiner.normalize(picture), region.top, region.left, step)

    @one_thread()
    def _told(self, frame: CompressedFrame, uncertainty: Tensor, region: Region) -> Tensor:
        """What the bitstream says of a region's cells, [1, 3, h, w]: uncertainty, mean absolute residual, lack of vectors."""
        rows, columns = region.cells
        pixels = frame.residual[region.top : region.top + region.height, region.left : region.left + region.width]
        residual = torch.from_numpy(mean_absolute(pixels) / RESIDUAL_SCALE).to(self._device)
        bare = torch.from_numpy(~frame.motion.covered[rows, columns]).to(self._device, torch.float32)
        return region.fit(torch.stack([uncertainty[rows, columns], residual, bare])).unsqueeze(0)

    @one_thread()
    def _pasted(self, propagated: Propagated, region: Region, logits: Tensor, light: Tensor) -> Propagated:
        """What was propagated, with masks and light features of a region in place; outside it is nothing."""
        logits = resize_grid(logits.float().squeeze(1), region.height, region.width)
        mended = soft_aggregate(torch.sigmoid(logits))[1:]
        whole = Propagated(
            torch.zeros_like(propagated.soft),
            torch.zeros_like(propagated.light),
            propagated.uncertainty.clone(),
            propagated.reference_coverage,
        )
        region.paste(mended, whole.soft)
        region.paste(light.to(whole.light.dtype), whole.light)
        return whole

    def _nearest(self, index: int) -> list[_Key]:
        """What is refiner_keys of the first key frame and the nearest others, the nearest of all last."""
        if not self._entries:
            return []
        first, *others = self._entries
        by_distance = sorted(others, key=lambda key: abs(key - index))[: MATCHED_KEYFRAMES - 1]
        chosen = [first, *reversed(by_distance)]
        return [entry for key in chosen if (entry := self._entries[key]) is not None]


def _side_by_side(keys: list[_Key]) -> Memory:
    memories = [key.memory for key in keys]
    return Memory(torch.cat([m.key for m in memories], dim=2), torch.cat([m.value for m in memories], dim=2))


def mask_uncertainty(soft: Tensor) -> Tensor:
    """Twice what soft masks [K, h, w] lack of mask_confidence, [K]; 0 for an object that is not there.

    On training sequences mask_confidence ranks refined masks by their J (Spearman 0.6, against 0.4 for a head that was
    trained to predict J), and 1 - J is about twice what it lacks.
    """
    certain = torch.from_numpy(mask_confidence(soft.cpu().numpy())).to(soft)
    return torch.where(certain > 0, (2 * (1 - certain)).clamp(0, 1), torch.zeros_like(certain))


# ruff: noqa: E501
