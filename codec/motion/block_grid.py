"""Exported block vectors -> dense arrays, one value a cell of the analysis picture (pure).

FFmpeg's AVMotionVector names a block by its centre (dst_x, dst_y), its size (w, h) and its prediction list (`source`:
negative for list 0, positive for list 1); the vector is (motion_x, motion_y) / motion_scale and points from the block
to where it is predicted from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec import kernels
from codec.types import STRIDE, Float32Array, Int32Array, VectorArray

_FIELDS = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")


@dataclass(frozen=True, slots=True, eq=False)
class BlockMotion:
    """Blocks of one frame and the cells they cover.

    Attributes:
        vectors: float32 [n + 1, 2], (dx, dy) of each block in analysis pixels; the last row is 0 and stands for "none".
        lists: int32 [n], prediction list of each block, 0 or 1.
        corners: float32 [n, 4], (left, top, width, height) of each block in analysis pixels.
        block: int32 [2, rows, columns], by list the block that covers a cell's centre, -1 where there is none.
    """

    vectors: Float32Array
    lists: Int32Array
    corners: Float32Array
    block: Int32Array


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a picture's vectors lie on the analysis picture.

    Attributes:
        scale_x, scale_y: Analysis pixels to one pixel of the vectors' picture.
        left, top: Pixels that cropping takes off the vectors' picture at the left and at the top.
        rows, columns: Cells of the analysis picture.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int
    rows: int
    columns: int

    @classmethod
    def between(
        cls, picture: tuple[int, int], analysis: tuple[int, int], cropped: tuple[int, int] = (0, 0)
    ) -> Geometry:
        """From a picture of (width, height), after `cropped` (left, top) pixels, to an analysis picture."""
        (width, height), (analysis_width, analysis_height) = picture, analysis
        return cls(
            analysis_width / width,
            analysis_height / height,
            *cropped,
            *cells_of(analysis),
        )


def cells_of(size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of cells of a picture of (width, height); those at the border may be cut."""
    return -(-size[1] // STRIDE), -(-size[0] // STRIDE)


def lay_blocks(records: VectorArray, geometry: Geometry) -> BlockMotion:
    """Lay blocks on the cells of the analysis picture.

    A cell belongs to the block that covers its centre. Where blocks overlap, the smaller one wins, then the later one.
    Blocks that reach over the border are cut there.
    """
    count = len(records)
    blocks = BlockMotion(
        vectors=np.empty((count + 1, 2), np.float32),
        lists=np.empty(count, np.int32),
        corners=np.empty((count, 4), np.float32),
        block=np.empty((2, geometry.rows, geometry.columns), np.int32),
    )
    kernels.lay(
        *(records[name] for name in _FIELDS),
        (geometry.scale_x, geometry.scale_y),
        (geometry.left, geometry.top),
        blocks.vectors,
        blocks.lists,
        blocks.corners,
        blocks.block,
    )
    return blocks
