"""What motion-compensated prediction leaves over, at analysis size: luma minus prediction (pure)."""

from __future__ import annotations

import cv2
import numpy as np

from codec.atlas import Atlas
from codec.motion import BlockMotion
from codec.prediction import Sources, average, predict_cells, predict_field
from codec.types import STRIDE, Float32Array, Int16Array, Int32Array, UInt8Array


class Prediction:
    """Prediction of one frame from its blocks and their references.

    Args:
        blocks: Blocks of the frame.
        reference: int32 [n + 1], decode index of each block's reference, -1 for none.
        atlas: Holds the frame itself and its references.
        current: The frame's decode index.

    Attributes:
        reference: int32 [2, rows, columns], as in `MotionField`.
        picture: uint8 [rows * 4, columns * 4]; the frame itself where there is no vector.
    """

    def __init__(self, blocks: BlockMotion, reference: Int32Array, atlas: Atlas, current: int) -> None:
        self._blocks = blocks.block
        self._atlas = atlas
        self._sources = Sources.of(blocks.vectors, reference, atlas, current)
        self.reference: Int32Array = np.take(reference, blocks.block)
        rows, columns = blocks.block.shape[1:]
        used = self.reference >= 0
        first = np.where(used[0], blocks.block[0], blocks.block[1])
        column, row = np.arange(columns, dtype=np.int32), np.arange(rows, dtype=np.int32)[:, None]
        self.picture = predict_field(atlas, self._sources.places(first, column, row, atlas.size))
        self._average_with_list_1(np.flatnonzero(used[0] & used[1]).astype(np.int32))

    def _average_with_list_1(self, cells: Int32Array) -> None:
        if not cells.size:
            return
        row, column = np.divmod(cells, self._blocks.shape[2])
        block = np.take(self._blocks[1], cells)
        second = predict_cells(self._atlas, self._sources.places(block, column, row, self._atlas.size))
        # Four pixels of a cell's line are one 32-bit word: a cell is four words.
        words = self.picture.view(np.uint32).reshape(-1)
        line = np.arange(STRIDE, dtype=np.int32) * self._blocks.shape[2]
        where = (row * (STRIDE * self._blocks.shape[2]) + column)[:, None] + line
        first = np.take(words, where).view(np.uint8).reshape(second.shape)
        words[where] = average(first, second).view(np.uint32)

    def residual(self, luma: UInt8Array) -> Int16Array:
        """Luma minus prediction, int16 [height, width]."""
        height, width = luma.shape
        return np.subtract(luma, self.picture[:height, :width], dtype=np.int16)

    def error(self, luma: UInt8Array) -> Float32Array:
        """Mean absolute error of each cell, float32 [rows, columns]."""
        height, width = luma.shape
        rows, columns = self._blocks.shape[1:]
        full = cv2.absdiff(luma, self.picture[:height, :width])
        if (height, width) != self.picture.shape:
            bottom, right = rows * STRIDE - height, columns * STRIDE - width
            full = cv2.copyMakeBorder(full, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return cv2.resize(full, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
