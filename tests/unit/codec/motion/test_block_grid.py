"""Rasterizing block vectors onto the stride-4 grid."""

from __future__ import annotations

import numpy as np
import pytest

from codec.motion.block_grid import GridGeometry, build_block_grid
from codec.types import STRIDE, VectorArray
from tests.support.block_grids import RECORD, random_records


def slow_field(records: VectorArray, geometry: GridGeometry) -> np.ndarray:
    """Array [2, rows, columns, 3] of (dx, dy, covered), from a search through all blocks for each cell."""
    field = np.zeros((2, geometry.rows, geometry.columns, 3))
    for row in range(geometry.rows):
        for column in range(geometry.columns):
            x = (column + 0.5) * STRIDE / geometry.scale_x + geometry.crop_left
            y = (row + 0.5) * STRIDE / geometry.scale_y + geometry.crop_top
            for r in records:
                left, top = int(r["dst_x"]) - int(r["w"]) / 2, int(r["dst_y"]) - int(r["h"]) / 2
                if left <= x < left + int(r["w"]) and top <= y < top + int(r["h"]):
                    dx = int(r["motion_x"]) / int(r["motion_scale"]) * geometry.scale_x
                    dy = int(r["motion_y"]) / int(r["motion_scale"]) * geometry.scale_y
                    field[int(r["source"] > 0), row, column] = dx, dy, 1
    return field


@pytest.mark.parametrize(
    ("picture", "analysis", "cropped"),
    [
        ((96, 64), (96, 64), (0, 0)),
        ((90, 57), (90, 57), (0, 0)),
        ((90, 57), (90, 57), (4, 2)),
        ((160, 90), (85, 48), (0, 0)),
        ((161, 121), (64, 48), (0, 0)),
        ((96, 64), (24, 16), (2, 6)),
    ],
)
def test_cells_get_the_block_over_their_center(
    picture: tuple[int, int], analysis: tuple[int, int], cropped: tuple[int, int]
) -> None:
    """Each cell gets, by list, the vector of the block that covers its center, with x and y scaled separately."""
    records = random_records(picture[0] + cropped[0], picture[1] + cropped[1], seed=sum(picture))
    geometry = GridGeometry.between(picture, analysis, cropped)
    grid = build_block_grid(records, geometry)
    slow = slow_field(records, geometry)
    assert np.array_equal(grid.block_of_cell >= 0, slow[..., 2] > 0)
    assert np.allclose(grid.vectors[grid.block_of_cell], slow[..., :2], atol=1e-4)


def test_partial_cells_are_part_of_the_grid() -> None:
    """The grid also has cells for incomplete 4 x 4 pixels at the right and bottom."""
    geometry = GridGeometry.between((13, 9), (13, 9))
    assert (geometry.rows, geometry.columns) == (3, 4)


def test_smaller_block_wins_an_overlap() -> None:
    """Where blocks overlap, a cell gets the vector of the smaller one."""
    records = np.array([(-1, 8, 8, 0, 0, 4, 4, 0, 4, 0, 4), (-1, 16, 16, 0, 0, 8, 8, 0, 8, 0, 4)], RECORD)
    grid = build_block_grid(records, GridGeometry.between((16, 16), (16, 16)))
    x = grid.vectors[grid.block_of_cell[0], 0]
    assert np.array_equal(x, np.array([[1, 1, 2, 2], [1, 1, 2, 2], [2, 2, 2, 2], [2, 2, 2, 2]]))


def test_blocks_outside_the_picture_are_ignored() -> None:
    """Blocks beyond any border change nothing and raise no error."""
    places = [(-40, 8), (8, -40), (400, 8), (8, 400), (-4, -4), (20, 20)]
    records = np.array([(-1, 16, 16, 0, 0, x, y, 0, 4, 4, 4) for x, y in places], RECORD)
    geometry = GridGeometry.between((16, 16), (16, 16))
    grid = build_block_grid(records, geometry)
    assert np.array_equal(grid.block_of_cell >= 0, slow_field(records, geometry)[..., 2] > 0)


def test_half_and_quarter_pixels_are_kept() -> None:
    """A vector is motion / motion_scale in pixels, without rounding."""
    records = np.array([(-1, 16, 16, 0, 0, 8, 8, 0, 5, -7, 4), (1, 16, 16, 0, 0, 8, 8, 0, 3, 1, 2)], RECORD)
    grid = build_block_grid(records, GridGeometry.between((16, 16), (16, 16)))
    assert grid.vectors[grid.block_of_cell[0, 0, 0]].tolist() == [1.25, -1.75]
    assert grid.vectors[grid.block_of_cell[1, 0, 0]].tolist() == [1.5, 0.5]
