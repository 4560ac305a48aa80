"""Motion-compensated prediction of a frame's cells from the reference pictures.

The prediction is bilinear, edges repeated; the two lists of a bi-predicted cell are averaged. It differs from the
codec's own by the interpolation filter, weighted prediction and deblocking.
"""

from __future__ import annotations

import numpy as np

from codec import kernels
from codec.motion import BlockMotion
from codec.stack import Stack
from codec.types import Float32Array, Int16Array, Int32Array, MotionField, UInt8Array


class Prediction:
    """Prediction of one frame from its blocks and the slots of their references.

    Args:
        blocks: Blocks of the frame.
        slot: int32 [n + 1], by block the slot of its reference, -1 for none; the last entry is -1.
        stack: Holds the references.
        luma: uint8 [height, width], the frame itself.

    Attributes:
        picture: uint8 [height, width]; the frame itself where there is no vector.
    """

    def __init__(self, blocks: BlockMotion, slot: Int32Array, stack: Stack, luma: UInt8Array) -> None:
        self._blocks, self._slot, self._stack, self._luma = blocks, slot, stack, luma
        self.picture: UInt8Array = np.empty_like(luma)
        self._predict(np.ones(len(slot), np.bool_))

    def change(self, slot: Int32Array) -> None:
        """Take other slots [n + 1] and predict the cells again that they concern."""
        changed = self._slot != slot
        self._slot = slot
        if changed.any():
            self._predict(changed)

    def motion(self) -> MotionField:
        """The motion that the prediction follows."""
        shape = self._blocks.block.shape
        field = MotionField(np.empty((*shape, 2), np.float32), np.empty(shape, np.int32))
        kernels.gather(
            self._blocks.block, self._blocks.vectors, self._slot, self._stack.names, field.vectors, field.reference
        )
        return field

    def residual(self) -> Int16Array:
        """Luma minus prediction, int16 [height, width]."""
        residual = np.empty(self._luma.shape, np.int16)
        kernels.subtract(self._luma, self.picture, residual)
        return residual

    def error(self) -> Float32Array:
        """Mean absolute error of each cell, float32 [rows, columns]."""
        error = np.empty(self._blocks.block.shape[1:], np.float32)
        kernels.cell_errors(self._luma, self.picture, error)
        return error

    def _predict(self, wanted: np.typing.NDArray[np.bool_]) -> None:
        kernels.predict(
            self._blocks.block, self._blocks.vectors, self._slot, wanted, self._stack.pictures, self._luma, self.picture
        )
