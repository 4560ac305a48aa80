"""Groups of objects, their regions, and the parts in which objects are decoded."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.masks import soft_box
from vos.modeling.parts import Part, cut_parts
from vos.refinement.groups import Group, group_objects
from vos.refinement.region import Region


def slow_object_bounds(plane: Tensor, axis: int) -> tuple[int, int]:
    """Return the outermost cells of an axis beyond which less than half a percent of an object's mass lies."""
    sums = [sum(float(v) for v in line if v > 0.1) for line in (plane if axis == 0 else plane.T)]
    first = next(i for i in range(len(sums)) if sum(sums[: i + 1]) > 0.005 * sum(sums))
    last = next(i for i in reversed(range(len(sums))) if sum(sums[i:]) > 0.005 * sum(sums))
    return first, last


def covered(region: Region, grid: tuple[int, ...]) -> Tensor:
    """Cells of the picture in a region, bool [rows, columns]."""
    cells = torch.zeros(grid, dtype=torch.bool)
    cells[region.cells] = True
    return cells


@pytest.mark.parametrize("seed", range(12))
def test_regions_hold_the_objects_with_a_margin(seed: int) -> None:
    """On any picture size, regions lie in the picture, hold the objects with a margin, and share no cell.

    Each object is in one group, and no two groups could be in one region that is no larger than both.
    """
    rng = np.random.default_rng(seed)
    grid = (int(rng.integers(20, 150)), int(rng.integers(20, 150)))
    count = int(rng.integers(1, 7))
    soft = torch.zeros(count, *grid)
    for k in range(count):
        top, left = (int(rng.integers(0, n - 5)) for n in grid)
        soft[k, top : top + int(rng.integers(1, 20)), left : left + int(rng.integers(1, 20))] = float(
            rng.uniform(0.2, 1)
        )
    soft += 0.05  # faint masks do not count
    groups = group_objects(soft)
    assert sorted(number for group in groups for number in group.alone) == list(range(count))
    assert torch.stack([covered(group.region, grid) for group in groups]).sum(dim=0).max() == 1
    for group in groups:
        for axis in (0, 1):
            bulks = [slow_object_bounds(soft[number], axis) for number in group.alone]
            assert_holds(group.region, axis, grid[axis], bulks)
            for number, bulk in zip(group.alone, bulks, strict=True):
                assert_holds(group.alone[number], axis, grid[axis], [bulk])
    for one, other in combinations(groups, 2):
        there = (soft[[*one.alone, *other.alone]] > 0.1).any(dim=0)
        rows, columns = (there.any(dim=1 - axis).nonzero() for axis in (0, 1))
        filled = soft_box(slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1), grid)
        (both,) = group_objects(filled)
        assert both.region.area > one.region.area + other.region.area


def assert_holds(region: Region, axis: int, cells: int, bulks: list[tuple[int, int]]) -> None:
    """A side of a region of a picture of so many cells has a valid length and holds the objects with a margin."""
    start, length = ((region.top, region.height), (region.left, region.width))[axis]
    whole = -(-cells * 4 // 16) * 16
    assert start % 16 == length % 16 == 0
    assert 0 <= start <= whole - length
    assert length % 64 == 0 or length == whole
    assert start <= max(0, 4 * min(first for first, _ in bulks) - 16)
    assert start + length >= min(whole, 4 * max(last + 1 for _, last in bulks) + 16)


def test_objects_near_each_other_share_a_region() -> None:
    """Two objects side by side are one group, and one in the opposite corner is another."""
    soft = torch.cat([soft_box(slice(2, 9), slice(n, n + 7), (120, 200)) for n in (2, 190, 12)])
    assert [sorted(group.alone) for group in group_objects(soft)] == [[1], [0, 2]]


def test_regions_share_the_pixels_that_the_network_sees() -> None:
    """Together, regions have no more pixels than the limit, up to rounding; small ones are not scaled."""
    soft = torch.cat([soft_box(slice(n, n + 30), slice(n, n + 50), (200, 300)) for n in (5, 150)])
    groups = group_objects(soft, 200 * 200)
    seen = [height * width for height, width in (group.region.input_size for group in groups)]
    assert len(groups) == 2
    assert 0.8 * 200 * 200 < sum(seen) < 1.2 * 200 * 200
    assert [group.region.input_size for group in group_objects(soft, 500 * 500)] == [(256, 384)] * 2


@pytest.mark.parametrize("limit", [1 << 30, 190 * 190, 150 * 150])
def test_parts_hold_the_regions_of_single_objects(limit: int) -> None:
    """Scaled into the region of its group, each pixel of an object's own region lies in its part.

    The sides of all parts are the smallest multiple of 64 pixels that suffices for all, or the region's.
    """
    alone = {0: Region(32, 48, 128, 128), 1: Region(112, 112, 192, 64), 2: Region(32, 160, 64, 128)}
    region = Region(48, 48, 320, 240, limit)
    parts = Group(((0, 1), (0, 1)), region, alone).parts()
    height, width = (side // 16 for side in region.input_size)
    for axis, side, whole in ((0, height, 320), (1, width, 240)):
        needed = []
        for part, own in zip(parts, alone.values(), strict=True):
            start, length = (own.top - 48, own.height) if axis == 0 else (own.left - 48, own.width)
            needed.append({math.floor((pixel + 0.5) * side / whole) for pixel in range(start, start + length)})
            span = part.rows if axis == 0 else part.columns
            assert 0 <= span[0] < span[1] <= side
            assert needed[-1].intersection(range(side)) <= set(range(*span))
        sizes = {part.rows[1] - part.rows[0] if axis == 0 else part.columns[1] - part.columns[0] for part in parts}
        assert sizes == {min(side, -(-max(map(len, needed)) // 4) * 4)}


@pytest.mark.parametrize("stride", [4, 8, 16])
def test_a_part_is_the_same_place_at_every_stride(stride: int) -> None:
    """Parts of maps at strides 4, 8 and 16 are cut at the same pixels, from one map or from one map each."""
    pixels = torch.arange(2 * 80 * 96).view(2, 1, 80, 96)
    parts, places = [Part((1, 3), (2, 5)), Part((0, 2), (3, 6))], ((16, 32), (0, 48))
    maps = pixels[..., ::stride, ::stride]
    for given, rows in ((maps, (0, 1)), (maps[1:], (1, 1))):
        expected = [
            pixels[n, :, y : y + 32 : stride, x : x + 48 : stride] for n, (y, x) in zip(rows, places, strict=True)
        ]
        assert torch.equal(cut_parts(given, parts, stride), torch.stack(expected))
