"""Motion-compensated prediction of a frame's cells from the pictures of an atlas.

The prediction is bilinear, edges repeated; the two lists of a bi-predicted cell are averaged. It differs from the
codec's own by the interpolation filter, weighted prediction and deblocking.
"""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np

from codec.atlas import BORDER, Atlas
from codec.motion import BlockMotion
from codec.types import STRIDE, Float32Array, Int16Array, Int32Array, UInt8Array

Places: TypeAlias = tuple[Float32Array, Float32Array]
"""x and y in the atlas, in pixels, of what a cell's first pixel (or a sample) is predicted from."""

_INSIDE = np.arange(STRIDE, dtype=np.float32)
_INSIDE_X, _INSIDE_Y = np.tile(_INSIDE, STRIDE), np.repeat(_INSIDE, STRIDE)
_SIDE_LIMIT = 32000
"""cv2.remap limits both sides of an array to 16 bits."""


class Sources:
    """Where each block of a frame is predicted from; the last entry stands for "no block" and is the frame itself.

    Args:
        vectors: float32 [n + 1, 2], (dx, dy) of each block in pixels.
        reference: int32 [n + 1], decode index of each block's reference; -1 for none.
        atlas: Holds the frame itself and its references.
        current: The frame's decode index.
    """

    def __init__(self, vectors: Float32Array, reference: Int32Array, atlas: Atlas, current: int) -> None:
        self._size = atlas.size
        used = reference >= 0
        self._dx = np.where(used, vectors[:, 0], 0)
        self._dy = np.where(used, vectors[:, 1], 0)
        self._origin_x, self._origin_y = atlas.origins(reference, current)

    def places(self, block: Int32Array, x: Float32Array, y: Float32Array) -> Places:
        """Places that pixels are predicted from.

        Args:
            block: Block of each pixel, -1 for none; any shape.
            x: Position of each pixel in the frame; broadcasts with `block`.
            y: The same.
        """
        there_x = bounded(np.take(self._dx, block) + x, self._size[0])
        there_y = bounded(np.take(self._dy, block) + y, self._size[1])
        there_x += np.take(self._origin_x, block)
        there_y += np.take(self._origin_y, block)
        return there_x, there_y


def bounded(position: Float32Array, side: int) -> Float32Array:
    """Keep cells within their slot of the atlas, in place: beyond the border there is only more of the same."""
    np.maximum(position, -BORDER, out=position)
    return np.minimum(position, side + BORDER - STRIDE - 1, out=position)


class Workspace:
    """Arrays of one field's size, used again for every frame: fresh ones cost more than what is done in them."""

    def __init__(self, rows: int, columns: int) -> None:
        self.x = np.empty((rows, STRIDE, columns * STRIDE), np.float32)
        self.y = np.empty((rows, STRIDE, columns * STRIDE), np.float32)
        self.picture: UInt8Array = np.empty((rows * STRIDE, columns * STRIDE), np.uint8)
        self.cell_x = np.arange(columns, dtype=np.float32) * STRIDE
        self.cell_y = (np.arange(rows, dtype=np.float32) * STRIDE)[:, None]


class Prediction:
    """Prediction of one frame from its blocks and their references; valid until the workspace is used again.

    Args:
        blocks: Blocks of the frame.
        reference: int32 [n + 1], decode index of each block's reference, -1 for none.
        atlas: Holds the frame itself and its references.
        current: The frame's decode index.
        workspace: Of the field's size.

    Attributes:
        reference: int32 [2, rows, columns], as in `MotionField`.
        picture: uint8 [rows * 4, columns * 4]; the frame itself where there is no vector.
    """

    def __init__(
        self, blocks: BlockMotion, reference: Int32Array, atlas: Atlas, current: int, workspace: Workspace
    ) -> None:
        self._blocks, self._atlas, self._current, self._space = blocks, atlas, current, workspace
        self._sources = Sources(blocks.vectors, reference, atlas, current)
        self.reference: Int32Array = np.take(reference, blocks.block)
        self.picture = workspace.picture
        used = self.reference >= 0
        first = np.where(used[0], blocks.block[0], blocks.block[1])
        self._fill(self._sources.places(first, workspace.cell_x, workspace.cell_y))
        both = np.flatnonzero(used[0] & used[1]).astype(np.int32)
        if both.size:
            self._write(both, average(self._read(both), self._cells(1, both)))

    def change(self, reference: Int32Array) -> None:
        """Take other references [n + 1] and predict the cells again that they concern."""
        self._sources = Sources(self._blocks.vectors, reference, self._atlas, self._current)
        before, self.reference = self.reference, np.take(reference, self._blocks.block)
        changed = np.not_equal(before, self.reference)
        cells = np.flatnonzero(changed[0] | changed[1]).astype(np.int32)
        if not cells.size:
            return
        used = np.take(self.reference.reshape(2, -1), cells, axis=1) >= 0
        pixels = self._cells(0, cells)
        if used[1].any():
            future = self._cells(1, cells)
            single = np.where(used[0][:, None], pixels, future)
            pixels = np.where((used[0] & used[1])[:, None], average(pixels, future), single)
        self._write(cells, pixels)

    def residual(self, luma: UInt8Array) -> Int16Array:
        """Luma minus prediction, int16 [height, width]."""
        height, width = luma.shape
        return np.subtract(luma, self.picture[:height, :width], dtype=np.int16)

    def error(self, luma: UInt8Array) -> Float32Array:
        """Mean absolute error of each cell's first and third line, float32 [rows, columns]."""
        height, width = luma.shape
        rows, columns = self.reference.shape[1:]
        lines = cv2.absdiff(luma[::2], self.picture[:height:2, :width])
        bottom, right = rows * 2 - lines.shape[0], columns * STRIDE - width
        if bottom or right:
            lines = cv2.copyMakeBorder(lines, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return cv2.resize(lines, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)

    def _fill(self, places: Places) -> None:
        """Predict all cells from places [rows, columns]."""
        x, y = self._space.x, self._space.y
        rows, columns = places[0].shape
        x[...] = (np.repeat(places[0], STRIDE, axis=1) + np.tile(_INSIDE, columns))[:, None]
        np.add(np.repeat(places[1], STRIDE, axis=1)[:, None], _INSIDE[:, None], out=y)
        shape = (rows * STRIDE, columns * STRIDE)
        cv2.remap(self._atlas.picture, x.reshape(shape), y.reshape(shape), cv2.INTER_LINEAR, dst=self.picture)

    def _cells(self, which: int, cells: Int32Array) -> UInt8Array:
        """Predict some cells by one list: uint8 [n, 16]; the frame itself where the list is not used."""
        row, column = np.divmod(cells, self.reference.shape[2])
        block = np.take(self._blocks.block[which], cells)
        x, y = self._sources.places(block, np.take(self._space.cell_x, column), np.take(self._space.cell_y, row))
        return sample(self._atlas, x[:, None] + _INSIDE_X, y[:, None] + _INSIDE_Y)

    def _words(self, cells: Int32Array) -> tuple[Int32Array, Int32Array]:
        """The picture as 32-bit words, four pixels of a cell's line each, and where each cell's four words are."""
        columns = self.reference.shape[2]
        row, column = np.divmod(cells, columns)
        lines = np.arange(STRIDE, dtype=np.int32) * columns
        return self.picture.view(np.int32).reshape(-1), (row * (STRIDE * columns) + column)[:, None] + lines

    def _read(self, cells: Int32Array) -> UInt8Array:
        words, where = self._words(cells)
        return np.take(words, where).view(np.uint8).reshape(-1, STRIDE * STRIDE)

    def _write(self, cells: Int32Array, pixels: UInt8Array) -> None:
        words, where = self._words(cells)
        words[where] = pixels.view(np.int32)


def sample(atlas: Atlas, x: Float32Array, y: Float32Array) -> UInt8Array:
    """Bilinear samples of the atlas at x and y [n, m], uint8 [n, m]."""
    parts = [
        cv2.remap(atlas.picture, x[i : i + _SIDE_LIMIT], y[i : i + _SIDE_LIMIT], cv2.INTER_LINEAR)
        for i in range(0, len(x), _SIDE_LIMIT)
    ]
    return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts))


def average(one: UInt8Array, other: UInt8Array) -> UInt8Array:
    """Bi-prediction: the mean, halves rounded up (H.264 clause 8.4.2.3.1)."""
    return ((one.astype(np.uint16) + other + 1) >> 1).astype(np.uint8)
