"""The regions around the objects: their positions, and cutting and pasting them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.masks import soft_box
from vos.refinement.groups import group_objects
from vos.refinement.region import Region, edge_share, object_bounds

LARGEST = 512 * 320


def region_around(soft: Tensor, max_pixels: int) -> Region:
    """Return the region around one group of objects."""
    (group,) = group_objects(soft, max_pixels)
    return group.region


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
    region = region_around(soft_box(*place), LARGEST)
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
