"""Predict a frame from its reference pictures by motion compensation.

The prediction is bilinear and repeats the edges of the reference picture. The two lists of a bi-predicted cell are
averaged. Compared with the codec's own prediction, the interpolation filter differs, and weighted prediction and
deblocking are missing.
"""

from __future__ import annotations

import numpy as np

from codec import kernels
from codec.motion.block_grid import BlockGrid
from codec.motion.reference_pictures import ReferencePictures
from codec.types import Float32Array, Int16Array, Int32Array, MotionField, UInt8Array

ERROR_TOLERANCE = 3.0
"""Mean absolute error in luma levels above which the reference of a block is in question."""


class MotionCompensation:
    """Motion-compensated prediction of one frame.

    Args:
        grid: Blocks of the frame.
        slots: int32 [blocks + 1], slot of the reference picture of each block, -1 for none. The last entry is -1.
        references: The reference pictures.
        luma: uint8 [height, width], the frame.

    Attributes:
        residual: int16 [height, width], luma minus prediction, 0 in cells without a vector.
        excess: float32 [blocks + 1], mean absolute error above `ERROR_TOLERANCE`, summed over the cells of each block.
            After `update_slots`, only cells that were predicted again count. The last entry is undefined.
    """

    def __init__(self, grid: BlockGrid, slots: Int32Array, references: ReferencePictures, luma: UInt8Array) -> None:
        self._grid, self._slots, self._references, self._luma = grid, slots, references, luma
        self.residual: Int16Array = np.empty(luma.shape, np.int16)
        self.excess: Float32Array = np.empty(len(slots), np.float32)
        self._predict(np.ones(len(slots), np.bool_))

    def update_slots(self, slots: Int32Array) -> None:
        """Predict the cells again whose reference differs in `slots` [blocks + 1]."""
        changed = self._slots != slots
        self._slots = slots
        if changed.any():
            self._predict(changed)

    def motion_field(self) -> MotionField:
        """The motion field that the prediction uses."""
        shape = self._grid.block_of_cell.shape
        field = MotionField(np.empty((*shape, 2), np.float32), np.empty(shape, np.int32))
        kernels.fill_motion_field(
            self._grid.block_of_cell, self._grid.vectors, self._slots, self._references.decode_indices,
            field.vectors, field.reference,
        )  # fmt: skip
        return field

    def _predict(self, selected: np.typing.NDArray[np.bool_]) -> None:
        kernels.compensate(
            self._grid.block_of_cell, self._grid.vectors, self._slots, selected, ERROR_TOLERANCE,
            self._references.pictures, self._luma, self.residual, self.excess,
        )  # fmt: skip
