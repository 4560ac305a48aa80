"""Motion-compensated prediction of a frame's cells from the reference pictures.

The prediction is bilinear, edges repeated; the two lists of a bi-predicted cell are averaged. It differs from the
codec's own by the interpolation filter, weighted prediction and deblocking.
"""

from __future__ import annotations

import numpy as np

from codec import kernels
from codec.motion.block_grid import BlockMotion
from codec.motion.reference_pictures import Stack
from codec.types import Float32Array, Int16Array, Int32Array, MotionField, UInt8Array

SUSPECT = 3.0
"""Mean absolute error, in levels, from which on a block's reference is questioned."""


class Prediction:
    """Prediction of one frame from its blocks and the slots of their references.

    Args:
        blocks: Blocks of the frame.
        slot: int32 [n + 1], by block the slot of its reference, -1 for none; the last entry is -1.
        stack: Holds the references.
        luma: uint8 [height, width], the frame itself.

    Attributes:
        residual: int16 [height, width], luma minus prediction; 0 where there is no vector.
        excess: float32 [n + 1], by block the sum over its cells of what their mean absolute errors exceed `SUSPECT` by;
            of those cells that were predicted last. The last entry means nothing.
    """

    def __init__(self, blocks: BlockMotion, slot: Int32Array, stack: Stack, luma: UInt8Array) -> None:
        self._blocks, self._slot, self._stack, self._luma = blocks, slot, stack, luma
        self.residual: Int16Array = np.empty(luma.shape, np.int16)
        self.excess: Float32Array = np.empty(len(slot), np.float32)
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

    def _predict(self, wanted: np.typing.NDArray[np.bool_]) -> None:
        kernels.compensate(
            self._blocks.block, self._blocks.vectors, self._slot, wanted, SUSPECT, self._stack.pictures, self._luma,
            self.residual, self.excess,
        )  # fmt: skip
