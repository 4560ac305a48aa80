"""Select the reference picture of each block.

An exported vector names its prediction list, but not the entry of that list. Encoders mostly refer to the nearest frame
in the list's direction. So the nearest one is selected, unless it predicts the block badly and another reference frame
does so clearly better. A bi-predicted block may also turn out to use one list only: FFmpeg exports a zero vector for
each unused part of a macroblock.
"""

from __future__ import annotations

import numpy as np

from codec import kernels
from codec.h264.dpb import ReferenceFrame
from codec.motion.block_grid import BlockGrid
from codec.motion.reference_pictures import ReferencePictures
from codec.types import Float32Array, Int32Array, UInt8Array

_MAX_ERROR_RATIO = 0.75
"""An alternative is clearly better if its error is below this share of the first choice's error ..."""
_MIN_ERROR_DROP = 1.0
"""... and lower by at least this many luma levels."""
_FIELD_VECTOR_FACTORS = (2.0, 0.5)
"""Factors that may turn a field vector into lines of the frame."""


def rank_references(frames: tuple[ReferenceFrame, ...], index: int, prediction_list: int) -> tuple[ReferenceFrame, ...]:
    """Sort reference frames by likelihood for a block of the frame at presentation `index`.

    List 0 starts with past frames from near to far, then come future ones; list 1 is the other way round (H.264 clause
    8.2.4.2.3).
    """

    def rank(frame: ReferenceFrame) -> tuple[bool, int]:
        distance = frame.index - index
        return (distance > 0) != (prediction_list == 1), abs(distance)

    return tuple(sorted(frames, key=rank))


class ReferenceSelector:
    """Selects references for the blocks of one frame.

    Args:
        references: The reference pictures.
        frames: The frames that the frame may refer to.
        index: Position of the frame in presentation order.
    """

    def __init__(self, references: ReferencePictures, frames: tuple[ReferenceFrame, ...], index: int) -> None:
        self._pictures = references.pictures
        self._ranked_slots = [
            np.array([references.slot(f.decode_index) for f in rank_references(frames, index, which)], np.int32)
            for which in (0, 1)
        ]

    def nearest(self, grid: BlockGrid) -> Int32Array:
        """Slot [blocks + 1] of the nearest reference in the direction of each block's list; the last entry is -1."""
        slots = np.empty(len(grid.lists) + 1, np.int32)
        slots[:-1] = np.array([ranked[0] for ranked in self._ranked_slots])[grid.lists]
        slots[-1] = -1
        return slots

    def reselect(self, grid: BlockGrid, slots: Int32Array, luma: UInt8Array, excess: Float32Array) -> Int32Array:
        """Slots [blocks + 1] after other references were tried for blocks that are predicted badly.

        Args:
            grid: Blocks of the frame.
            slots: int32 [blocks + 1], first choice.
            luma: uint8 [height, width], the frame.
            excess: float32 [blocks + 1], above 0 for blocks that the first choice predicts badly.
        """
        selected = slots.copy()
        for which in (0, 1):
            kernels.reselect_references(
                which, self._ranked_slots[which], excess, _MAX_ERROR_RATIO, _MIN_ERROR_DROP,
                grid.block_of_cell, grid.vectors, grid.lists, grid.boxes, selected, self._pictures, luma,
            )  # fmt: skip
        return selected

    def scale_field_vectors(self, grid: BlockGrid, slots: Int32Array, luma: UInt8Array) -> Float32Array:
        """Vectors [blocks + 1, 2] of an interlaced frame in lines of the frame.

        Decoders may export the vectors of field blocks at half or twice their length, and nothing marks these blocks.
        So the vertical component is doubled or halved if that predicts the block clearly better.
        """
        vectors = grid.vectors.copy()
        kernels.scale_field_vectors(
            np.array(_FIELD_VECTOR_FACTORS), _MAX_ERROR_RATIO, _MIN_ERROR_DROP,
            grid.block_of_cell, grid.vectors, grid.lists, grid.boxes, slots, self._pictures, luma, vectors,
        )  # fmt: skip
        return vectors
