"""Groups of objects that are near each other: the refiner sees a region per group, and decodes objects in parts of it.

Regions are disjoint, so each cell belongs to the objects of one group. An object is decoded only in the part around it,
so ten small objects cost little more than one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from vos.modeling.parts import Part
from vos.modeling.refiner import STRIDE
from vos.refinement.region import UNLIMITED, Region, Span, Span2D, bounds_by_object, region_around, union

_PART_STEP = 4
"""Sides of parts are multiples of this many positions at stride 16, or span the region: each new size costs 20 ms."""


@dataclass(frozen=True, slots=True)
class Group:
    """Objects that the network sees in one region.

    Attributes:
        bounds: Rows and columns, in pixels, that hold the objects.
        region: The region around them.
        alone: Number of each object -> the region around it alone.
    """

    bounds: Span2D
    region: Region
    alone: dict[int, Region]

    def parts(self) -> list[Part]:
        """Return the part of the region around each single object; all have the size that the largest one needs."""
        height, width = self.region.input_size
        rows, columns = [], []
        for alone in self.alone.values():
            rows.append(_positions(alone.top - self.region.top, alone.height, height / self.region.height))
            columns.append(_positions(alone.left - self.region.left, alone.width, width / self.region.width))
        spans = zip(_of_one_length(rows, height // STRIDE), _of_one_length(columns, width // STRIDE), strict=True)
        return [Part(*span) for span in spans]


def group_objects(soft: Tensor, max_pixels: int = UNLIMITED) -> list[Group]:
    """Group the objects of soft masks [K, rows, columns] into disjoint regions; no group without an object.

    Objects are in one group if their regions overlap, or if a region around both is no larger than two.

    Args:
        soft: The soft masks.
        max_pixels: Pixels of all regions that the network sees at full resolution; beyond, all are scaled down alike.
    """
    grid = (soft.shape[1], soft.shape[2])
    groups: list[Group] = []
    for number, bounds in bounds_by_object(soft).items():
        region = region_around(bounds, grid)
        group = Group(bounds, region, {number: region})
        # A group that grows may reach others that it did not reach before.
        while (joined := _first_joined(groups, group, grid)) is not None:
            other, group = joined
            groups.remove(other)
        groups.append(group)
    total = sum(group.region.area for group in groups)
    return [_limited(group, max_pixels * group.region.area // total) for group in groups]


def _first_joined(groups: list[Group], new: Group, grid: tuple[int, int]) -> tuple[Group, Group] | None:
    """Return the first group that the new one should be joined with, and both as one; None if there is none."""
    for group in groups:
        bounds = union([group.bounds, new.bounds])
        region = region_around(bounds, grid)
        if region.area <= group.region.area + new.region.area or group.region.overlaps(new.region):
            return group, Group(bounds, region, dict(sorted((group.alone | new.alone).items())))
    return None


def _limited(group: Group, max_pixels: int) -> Group:
    return replace(group, region=replace(group.region, max_pixels=max_pixels))


def _positions(start: int, length: int, scale: float) -> Span:
    """Positions at stride 16 that hold `length` pixels from `start` on, scaled."""
    return math.floor(start * scale / STRIDE), math.ceil((start + length) * scale / STRIDE)


def _of_one_length(spans: list[Span], side: int) -> list[Span]:
    """Extend and move spans so that all have one length, a multiple of `_PART_STEP` or all of the side."""
    longest = max(last - first for first, last in spans)
    length = min(side, -(-longest // _PART_STEP) * _PART_STEP)
    starts = ((first + last - length) // 2 for first, last in spans)
    return [(start, start + length) for start in (min(max(0, start), side - length) for start in starts)]
