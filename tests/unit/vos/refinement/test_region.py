"""The region around the objects: its position, and cutting and pasting it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.masks import soft_box
from vos.refinement.region import Region, edge_share, object_bounds, region_around

LARGEST = 512 * 320


def slow_object_bounds(plane: Tensor, axis: int) -> tuple[int, int]:
    """Return the outermost cells of an axis beyond which less than half a percent of an object's mass lies."""
    sums = [sum(float(v) for v in line if v > 0.1) for line in (plane if axis == 0 else plane.T)]
    first = next(i for i in range(len(sums)) if sum(sums[: i + 1]) > 0.005 * sum(sums))
    last = next(i for i in reversed(range(len(sums))) if sum(sums[i:]) > 0.005 * sum(sums))
    return first, last


@pytest.mark.parametrize("seed", range(12))
def test_region_holds_the_objects_with_a_margin(seed: int) -> None:
    """On any picture size, the region lies in the picture and holds the object bounds with a margin."""
    rng = np.random.default_rng(seed)
    grid = tuple(int(n) for n in rng.integers(20, 90, 2))
    soft = torch.zeros(2, *grid)
    for k in range(2):
        top, left = (int(rng.integers(0, n - 5)) for n in grid)
        soft[k, top : top + int(rng.integers(1, 20)), left : left + int(rng.integers(1, 20))] = float(
            rng.uniform(0.2, 1)
        )
    soft += 0.05  # faint masks do not count
    region = region_around(soft)
    assert region is not None
    for axis, (start, length) in enumerate(((region.top, region.height), (region.left, region.width))):
        whole = -(-grid[axis] * 4 // 16) * 16
        assert start % 16 == length % 16 == 0
        assert start >= 0
        assert start + length <= whole
        assert length % 64 == 0 or length == whole
        bulks = [slow_object_bounds(plane, axis) for plane in soft]
        assert start <= max(0, 4 * min(first for first, _ in bulks) - 16)
        assert start + length >= min(whole, 4 * max(last + 1 for _, last in bulks) + 16)


def test_outliers_do_not_enlarge_the_bounds() -> None:
    """A few cells far from an object, scattered by propagation, change nothing."""
    soft = soft_box(slice(60, 90), slice(80, 110), (120, 200))
    clean = object_bounds(soft)
    assert clean == ((240, 360), (320, 440))
    soft[0, 2, 3] = 0.9
    assert object_bounds(soft) == clean


def test_large_regions_are_scaled_down() -> None:
    """The network sees no more pixels than the limit, up to rounding, and cells return to their places."""
    soft = soft_box(slice(10, 110), slice(10, 190), (120, 200))
    region = region_around(soft, LARGEST)
    assert region is not None
    height, width = region.input_size
    assert height % 16 == width % 16 == 0
    assert 0.85 * LARGEST < height * width < 1.15 * LARGEST < region.height * region.width
    assert region.cut(soft).shape == (1, height // 4, width // 4)
    assert region.pixels(np.zeros((480, 800, 3), np.uint8)).shape == (height, width, 3)
    back = torch.zeros_like(soft)
    region.paste(region.cut(soft), back)
    assert ((back > 0.5) == (soft > 0.5)).float().mean() > 0.99


def test_edge_share_equals_a_loop() -> None:
    """Share of the cells filled by more than a tenth that are filled by less than nine tenths; 0 without objects."""
    soft = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(0)) ** 2
    there = [float(value) for value in soft.flatten() if value > 0.1]
    assert edge_share(soft) == pytest.approx(sum(value < 0.9 for value in there) / len(there))
    assert edge_share(soft_box(slice(3, 9), slice(3, 9))) == edge_share(torch.zeros(1, 5, 5)) == 0


def test_faint_masks_have_no_bounds() -> None:
    """Without a cell above the threshold there is no object."""
    assert object_bounds(torch.full((2, 9, 9), 0.09)) is None


@pytest.mark.parametrize("place", [(slice(0, 2), slice(0, 3)), (slice(21, 23), slice(30, 33)), (slice(9, 12),) * 2])
def test_cutting_and_pasting_restores_the_picture(place: tuple[slice, slice]) -> None:
    """Cells return to their places, also at the picture's borders; cells outside the picture are 0."""
    region = region_around(soft_box(*place))
    assert region is not None
    channels = torch.rand(5, 23, 33)
    part = region.cut(channels)
    assert part.shape == (5, region.height // 4, region.width // 4)
    for row, column in np.ndindex(part.shape[1:]):
        y, x = region.top // 4 + row, region.left // 4 + column
        inside = y < 23 and x < 33
        assert torch.equal(part[:, row, column], channels[:, y, x] if inside else torch.zeros(5))
    copy = channels.clone()
    region.paste(part + 1, copy)
    rows, columns = region.cells
    assert torch.equal(copy[:, rows, columns], channels[:, rows, columns] + 1)
    copy[:, rows, columns] -= 1
    torch.testing.assert_close(copy, channels)


def test_pixels_beyond_the_picture_repeat_its_edge() -> None:
    """A region that exceeds the picture repeats the picture's last row and column."""
    picture = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    region = Region(64, 96, 32, 48)
    pixels = region.pixels(picture)
    for y, x in np.ndindex(32, 48):
        assert (pixels[y, x] == picture[min(64 + y, 89), min(96 + x, 129)]).all()
