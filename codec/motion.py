"""Exported block vectors -> dense arrays, one value a cell of the analysis picture (pure).

FFmpeg's AVMotionVector names a block by its centre (dst_x, dst_y), its size (w, h) and its prediction list (`source`:
negative for list 0, positive for list 1); the vector is (motion_x, motion_y) / motion_scale and points from the block
to where it is predicted from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from codec.types import STRIDE, Float32Array, Int32Array

VectorArray: TypeAlias = npt.NDArray[Any]
"""AVMotionVector records [n], as `MotionVectors.to_ndarray()` gives them."""


_MOST_CELLS = 256 // STRIDE + 2
"""More cells than any block covers along one side: its size is a byte."""


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

    def spread(
        self, chosen: npt.NDArray[np.intp], count: int, size: tuple[int, int]
    ) -> tuple[Float32Array, Float32Array]:
        """Pixels spread evenly over some blocks, cut at the borders of the picture.

        Args:
            chosen: Numbers [m] of the blocks.
            count: Pixels in each direction.
            size: (width, height) of the picture.

        Returns:
            x and y, whole numbers as float32 [m, count * count].
        """
        inside = (np.arange(count, dtype=np.float32) + 0.5) / count
        left, top, width, height = (self.corners[chosen, i, None] for i in range(4))
        x = np.clip(np.floor(left + width * np.tile(inside, count)), 0, size[0] - 1)
        y = np.clip(np.floor(top + height * np.repeat(inside, count)), 0, size[1] - 1)
        return x, y


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
    scale = np.array((geometry.scale_x, geometry.scale_y), np.float32)
    lists = (records["source"] > 0).astype(np.int32)
    vectors = np.zeros((len(records) + 1, 2), np.float32)
    steps = records["motion_scale"].astype(np.float32)
    np.divide(records["motion_x"], steps, out=vectors[:-1, 0])
    np.divide(records["motion_y"], steps, out=vectors[:-1, 1])
    vectors *= scale
    corners = np.empty((len(records), 4), np.float32)
    for axis, (centre, size, cropped) in enumerate((("dst_x", "w", geometry.left), ("dst_y", "h", geometry.top))):
        corners[:, 2 + axis] = records[size]
        corners[:, axis] = records[centre] - 0.5 * corners[:, 2 + axis] - cropped
    corners *= np.tile(scale, 2)
    x, columns = _cells(corners[:, 0], corners[:, 2], geometry.columns)
    y, rows = _cells(corners[:, 1], corners[:, 3], geometry.rows)
    origin = (lists * geometry.rows + y) * geometry.columns + x
    block = np.full(2 * geometry.rows * geometry.columns, -1, np.int32)
    _paint(block, origin, rows, columns, geometry.columns)
    return BlockMotion(vectors, lists, corners, block.reshape(2, geometry.rows, geometry.columns))


def _cells(start: Float32Array, size: Float32Array, cells: int) -> tuple[Int32Array, Int32Array]:
    """First cell, and number of cells, whose centres lie in [start, start + size) of each block along one axis."""
    first = np.ceil(start * (1 / STRIDE) - 0.5)
    end = np.ceil((start + size) * (1 / STRIDE) - 0.5)
    inside = np.clip(first, 0, cells).astype(np.int32)
    return inside, np.clip(end, 0, cells).astype(np.int32) - inside


def _paint(block: Int32Array, origin: Int32Array, rows: Int32Array, columns: Int32Array, stride: int) -> None:
    """Write each block's number into its cells: one vectorised write for each size in cells, largest first."""
    code = rows * _MOST_CELLS + columns
    code[(rows <= 0) | (columns <= 0)] = 0
    sizes = np.flatnonzero(np.bincount(code))
    for size in sorted((divmod(int(s), _MOST_CELLS) for s in sizes if s), key=lambda s: -s[0] * s[1]):
        chosen = np.flatnonzero(code == size[0] * _MOST_CELLS + size[1]).astype(np.int32)
        inside = (np.arange(size[0], dtype=np.int32)[:, None] * stride + np.arange(size[1], dtype=np.int32)).ravel()
        block[np.take(origin, chosen)[:, None] + inside] = chosen[:, None]
