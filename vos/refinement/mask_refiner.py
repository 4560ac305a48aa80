"""Refine propagated masks in regions around the objects.

The cost depends on the objects rather than the picture: the network sees boxes around groups of objects that are near
each other, in this frame and in the key frames that it is matched with, and decodes each object in the part of its
group's region that is around this object. The first key frame is kept, and the most recent ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codec.types import STRIDE, CompressedFrame, FrameType, UInt8Array
from vos.masks.geometry import mask_confidence
from vos.modeling.aggregate import ABSENT_LOGIT, soft_aggregate
from vos.modeling.network import Memory
from vos.modeling.refiner import LIGHT_CHANNELS, Refiner, RefinerFeatures
from vos.propagation.propagate import Propagated
from vos.propagation.uncertainty import RESIDUAL_SCALE, UNCERTAINTY_AFTER_REFINEMENT, mean_absolute
from vos.refinement.groups import Group, group_objects
from vos.refinement.region import UNLIMITED, Region, edge_share, resize_grid
from vos.runtime.thread_pools import one_thread

MATCHED_KEYFRAMES = 3
"""Key frames that a frame is matched with."""
KEPT_KEYFRAMES = 5
"""Key frames that are kept, because the nearest ones of a future frame are not known yet."""
SOLID, THIN = 0.14, 0.33
"""Objects whose edge share is below the first number are solid and lose little when they are seen at lower resolution.
From the second number on they are thin, and kites or spokes would be lost."""


@dataclass(frozen=True, slots=True)
class RefineBudget:
    """How much work refinement may take.

    Attributes:
        skip_below: Skip refinement of non-reference frames below this uncertainty.
        skip_b_below: The same for B frames that are references, whose errors do not spread far.
        solid_pixels: Pixels of all regions that the network sees at full resolution, for solid objects. Larger regions
            are scaled down.
        mixed_pixels: The same for objects that are neither solid nor thin. Thin objects have no limit.
    """

    skip_below: float
    skip_b_below: float
    solid_pixels: int
    mixed_pixels: int

    def full_resolution_pixels(self, edges: float) -> int:
        """Return the pixels of all regions seen at full resolution, for objects with this edge share."""
        return self.solid_pixels if edges < SOLID else self.mixed_pixels if edges < THIN else UNLIMITED


BUDGETS = {
    "fast": RefineBudget(0.2, 0.1, 224 * 224, 288 * 288),
    "balanced": RefineBudget(0.1, 0.0, 272 * 272, 384 * 384),
    "best": RefineBudget(0.0, 0.0, UNLIMITED, UNLIMITED),
}
"""Quality -> budget."""


@dataclass(frozen=True, slots=True, eq=False)
class _Keyframe:
    """Keys and values of a key frame's regions, and the `max_pixels` of regions around objects of this shape."""

    memory: Memory
    max_pixels: int


class MaskRefiner:
    """Refiner and key frames of one video.

    Args:
        refiner: Network, in eval mode.
        budget: How much work refinement may take.
    """

    def __init__(self, refiner: Refiner, budget: RefineBudget = BUDGETS["best"]) -> None:
        self._refiner = refiner
        self._budget = budget
        self._device = next(refiner.parameters()).device
        self._keyframes: dict[int, _Keyframe | None] = {}

    @property
    def keys(self) -> tuple[int, ...]:
        """Presentation indices of the key frames that are kept, the first key frame first."""
        return tuple(self._keyframes)

    def reserve(self, keys: tuple[int, ...]) -> None:
        """Reserve places for the `keys` of an interrupted run; `add_keyframe` fills them, in any order."""
        self._keyframes = dict.fromkeys(keys)

    def add_keyframe(self, frame: CompressedFrame, soft: Tensor) -> Tensor:
        """Add a key frame with its soft masks [K, rows, columns]. Return its light features [8, rows, columns]."""
        light = soft.new_zeros(LIGHT_CHANNELS, *soft.shape[1:])
        max_pixels = self._budget.full_resolution_pixels(edge_share(soft))
        groups = group_objects(soft, max_pixels)
        if not groups:
            return light
        rgb, memories = frame.rgb(), []
        for group in groups:
            features = self._encode(rgb, group.region)
            group.region.paste(features.light[0].to(light.dtype), light)
            memories.append(self._refiner.memorize(features, group.region.cut(soft).unsqueeze(1)))
        self._keyframes[frame.index] = _Keyframe(_concatenated(memories), max_pixels)
        if len(self._keyframes) > KEPT_KEYFRAMES:
            del self._keyframes[self.keys[1]]
        return light

    def needs_refinement(self, frame: CompressedFrame, uncertainty: Tensor) -> bool:
        """Return whether a frame with this uncertainty per object [K] is refined.

        I and P frames that are references always are, because their errors spread to all later frames.
        """
        if not frame.is_reference:
            return float(uncertainty.max()) >= self._budget.skip_below
        return frame.type is not FrameType.B or float(uncertainty.max()) >= self._budget.skip_b_below

    def refine(self, frame: CompressedFrame, propagated: Propagated) -> tuple[Propagated, Tensor]:
        """Refine the propagated masks of a frame.

        Returns:
            The refined masks and their uncertainty per object, float32 [K]. Without an object in the frame, or without
            a key frame, the masks are returned as they are.
        """
        keyframes = self._nearest(frame.index)
        # The shape in the nearest key frame counts: propagation blurs edges, and the size should not change per frame.
        groups = group_objects(propagated.soft, keyframes[-1].max_pixels) if keyframes else []
        if not groups:
            return propagated, propagated.uncertainty_per_object()
        refined = Propagated(
            torch.zeros_like(propagated.soft),
            torch.zeros_like(propagated.light),
            propagated.uncertainty.clone(),
            propagated.reference_coverage,
        )
        rgb, memory = frame.rgb(), _concatenated([keyframe.memory for keyframe in keyframes])
        for group in groups:
            region, features = group.region, self._encode(rgb, group.region)
            bitstream = self._bitstream_features(frame, propagated.uncertainty, region)
            logits = self._logits(group, features, memory, propagated, bitstream)
            self._paste(group, logits, features.light[0], refined)
            region.paste(bitstream[0, :1] * UNCERTAINTY_AFTER_REFINEMENT, refined.uncertainty.unsqueeze(0))
        return refined, mask_uncertainty(refined.soft)

    def _logits(
        self, group: Group, features: RefinerFeatures, memory: Memory, propagated: Propagated, bitstream: Tensor
    ) -> Tensor:
        """Return logits of a group's objects in its region, [K, 1, h, w].

        Objects that are not propagated to this frame are in no group: refinement moves edges, and must not find what
        the key frame did not find.
        """
        region, numbers, parts = group.region, list(group.alone), group.parts()
        confidence = self._refiner.confidence(features, region.cut(propagated.light).unsqueeze(0))
        soft = region.cut(_rows(propagated.soft, numbers)).unsqueeze(1)
        own = Memory(memory.key, _rows(memory.value, numbers))
        found = self._refiner.refine(features, own, soft, confidence, bitstream, parts=parts)
        logits = torch.full_like(soft, ABSENT_LOGIT)
        for part, onto, one in zip(parts, logits, found, strict=True):
            part.of(onto, STRIDE).copy_(one)
        return logits

    def _encode(self, rgb: UInt8Array, region: Region) -> RefinerFeatures:
        pixels = np.ascontiguousarray(region.pixels(rgb))
        picture = torch.from_numpy(pixels).to(self._device).permute(2, 0, 1).unsqueeze(0)
        step = (region.height / picture.shape[2], region.width / picture.shape[3])
        return self._refiner.encode(self._refiner.normalize(picture), region.top, region.left, step)

    @one_thread()
    def _bitstream_features(self, frame: CompressedFrame, uncertainty: Tensor, region: Region) -> Tensor:
        """Uncertainty, mean absolute residual and lack of motion vectors of a region's cells, [1, 3, h, w]."""
        rows, columns = region.cells
        pixels = frame.residual[region.top : region.top + region.height, region.left : region.left + region.width]
        residual = torch.from_numpy(mean_absolute(pixels) / RESIDUAL_SCALE).to(self._device)
        intra = torch.from_numpy(~frame.motion.covered[rows, columns]).to(self._device, torch.float32)
        return region.fit(torch.stack([uncertainty[rows, columns], residual, intra])).unsqueeze(0)

    @one_thread()
    def _paste(self, group: Group, logits: Tensor, light: Tensor, refined: Propagated) -> None:
        """Put refined masks and light features of a group into the picture, and nothing outside its region."""
        region = group.region
        logits = resize_grid(logits.float().squeeze(1), region.height, region.width)
        for number, soft in zip(group.alone, soft_aggregate(torch.sigmoid(logits))[1:], strict=True):
            region.paste(soft.unsqueeze(0), refined.soft[number : number + 1])
        region.paste(light.to(refined.light.dtype), refined.light)

    def _nearest(self, index: int) -> list[_Keyframe]:
        """Return the first key frame and those nearest to a presentation index, the nearest one last."""
        if not self._keyframes:
            return []
        first, *others = self._keyframes
        by_distance = sorted(others, key=lambda key: abs(key - index))[: MATCHED_KEYFRAMES - 1]
        chosen = [first, *reversed(by_distance)]
        return [keyframe for key in chosen if (keyframe := self._keyframes[key]) is not None]


def _concatenated(memories: list[Memory]) -> Memory:
    return Memory(torch.cat([m.key for m in memories], dim=2), torch.cat([m.value for m in memories], dim=2))


def _rows(x: Tensor, numbers: list[int]) -> Tensor:
    """Return rows of a tensor. Indexing by a list would copy the list to the device."""
    return x if len(numbers) == len(x) else torch.cat([x[number : number + 1] for number in numbers])


def mask_uncertainty(soft: Tensor) -> Tensor:
    """Uncertainty per object of soft masks [K, h, w], [K], 0 to 1: twice one minus the confidence; 0 if absent.

    On training sequences the confidence ranks refined masks by their J (Spearman 0.6, compared with 0.4 for a head
    trained to predict J), and 1 - J is about twice one minus the confidence.
    """
    confidence = torch.from_numpy(mask_confidence(soft.cpu().numpy())).to(soft)
    return torch.where(confidence > 0, (2 * (1 - confidence)).clamp(0, 1), torch.zeros_like(confidence))
