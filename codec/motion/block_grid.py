"""Rasterize exported block vectors onto the stride-4 grid of the analysis picture.

An AVMotionVector describes a block by its center (dst_x, dst_y), its size (w, h) and its prediction list (`source`:
negative for list 0, positive for list 1). The vector (motion_x, motion_y) / motion_scale points from the block to the
place it is predicted from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec import kernels
from codec.types import STRIDE, Float32Array, Int32Array, VectorArray

_RECORD_FIELDS = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")


@dataclass(frozen=True, slots=True, eq=False)
class BlockGrid:
    """The blocks of one frame and the cells they cover.

    Attributes:
        vectors: float32 [blocks + 1, 2], (dx, dy) of each block in analysis pixels. The last row is 0 for "no block".
        lists: int32 [blocks], prediction list of each block, 0 or 1.
        boxes: float32 [blocks, 4], (left, top, width, height) of each block in analysis pixels.
        block_of_cell: int32 [2, rows, columns], by list the block that covers the center of a cell, -1 for none.
    """

    vectors: Float32Array
    lists: Int32Array
    boxes: Float32Array
    block_of_cell: Int32Array


@dataclass(frozen=True, slots=True)
class GridGeometry:
    """Mapping from the picture whose pixels the vectors are in to the stride-4 grid of the analysis picture.

    Attributes:
        scale_x, scale_y: Analysis pixels per pixel of the vectors' picture.
        crop_left, crop_top: Pixels cropped from the vectors' picture at the left and at the top.
        rows, columns: Size of the grid.
    """

    scale_x: float
    scale_y: float
    crop_left: int
    crop_top: int
    rows: int
    columns: int

    @classmethod
    def between(
        cls, picture: tuple[int, int], analysis: tuple[int, int], crop: tuple[int, int] = (0, 0)
    ) -> GridGeometry:
        """Mapping between two sizes (width, height); `crop` (left, top) was cropped from the picture."""
        (width, height), (analysis_width, analysis_height) = picture, analysis
        rows, columns = -(-analysis_height // STRIDE), -(-analysis_width // STRIDE)
        return cls(analysis_width / width, analysis_height / height, *crop, rows, columns)


def build_block_grid(records: VectorArray, geometry: GridGeometry) -> BlockGrid:
    """Rasterize the blocks of one frame.

    A cell belongs to the block that covers its center. Where blocks overlap, the smaller one wins, then the later one.
    Blocks are clipped at the border.

    Args:
        records: AVMotionVector records [blocks].
        geometry: Mapping to the analysis picture.
    """
    blocks = len(records)
    grid = BlockGrid(
        vectors=np.empty((blocks + 1, 2), np.float32),
        lists=np.empty(blocks, np.int32),
        boxes=np.empty((blocks, 4), np.float32),
        block_of_cell=np.empty((2, geometry.rows, geometry.columns), np.int32),
    )
    kernels.rasterize_blocks(
        *(records[name] for name in _RECORD_FIELDS),
        (geometry.scale_x, geometry.scale_y),
        (geometry.crop_left, geometry.crop_top),
        grid.vectors,
        grid.lists,
        grid.boxes,
        grid.block_of_cell,
    )
    return grid
