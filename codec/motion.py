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


@dataclass(frozen=True, slots=True, eq=False)
class BlockMotion:
    """Blocks of one frame and the cells they cover.

    Attributes:
        vectors: float32 [n + 1, 2], (dx, dy) of each block in analysis pixels; the last row is 0 and stands for "none".
        lists: int32 [n], prediction list of each block, 0 or 1.
        block: int32 [2, rows, columns], by list the block that covers a cell's centre, -1 where there is none.
    """

    vectors: Float32Array
    lists: Int32Array
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
            rows=-(-analysis_height // STRIDE),
            columns=-(-analysis_width // STRIDE),
        )


def lay_blocks(records: VectorArray, geometry: Geometry) -> BlockMotion:
    """Lay blocks on the cells of the analysis picture.

    A cell belongs to the block that covers its centre. Where blocks overlap, the smaller one wins, then the later one.
    Blocks that reach over the border are cut there.
    """
    lists = (records["source"] > 0).astype(np.int32)
    vectors = np.zeros((len(records) + 1, 2), np.float32)
    scale = records["motion_scale"].astype(np.float32)
    np.divide(records["motion_x"], scale, out=vectors[:-1, 0])
    np.divide(records["motion_y"], scale, out=vectors[:-1, 1])
    vectors *= np.array((geometry.scale_x, geometry.scale_y), np.float32)
    x, columns = _cells(records["dst_x"], records["w"], geometry.left, geometry.scale_x, geometry.columns)
    y, rows = _cells(records["dst_y"], records["h"], geometry.top, geometry.scale_y, geometry.rows)
    origin = (lists * geometry.rows + y) * geometry.columns + x
    block = np.full(2 * geometry.rows * geometry.columns, -1, np.int32)
    _paint(block, origin, rows, columns, geometry.columns)
    return BlockMotion(vectors, lists, block.reshape(2, geometry.rows, geometry.columns))


def _cells(
    centre: npt.NDArray[np.int16], size: npt.NDArray[np.uint8], cropped: int, scale: float, cells: int
) -> tuple[Int32Array, Int32Array]:
    """First cell, and number of cells, whose centres lie in [start, end) of each block along one axis."""
    doubled = 2 * (centre.astype(np.int32) - cropped)
    to_cell = 0.5 * scale / STRIDE
    start = np.ceil((doubled - size) * to_cell - 0.5)
    end = np.ceil((doubled + size) * to_cell - 0.5)
    first = np.clip(start, 0, cells).astype(np.int32)
    return first, np.clip(end, 0, cells).astype(np.int32) - first


def _paint(block: Int32Array, origin: Int32Array, rows: Int32Array, columns: Int32Array, stride: int) -> None:
    """Write each block's number into its cells: one vectorised write for each size in cells, largest first."""
    code = rows * 65536 + columns
    sizes = np.unique(code[(rows > 0) & (columns > 0)])
    for size in sorted((int(s) for s in sizes), key=lambda s: -(s >> 16) * (s & 65535)):
        chosen = np.flatnonzero(code == size).astype(np.int32)
        inside = (np.arange(size >> 16)[:, None] * stride + np.arange(size & 65535)).ravel()
        block[origin[chosen][:, None] + inside] = chosen[:, None]
