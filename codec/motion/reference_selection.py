"""Which decoded frame each block is predicted from.

A block's vector says by which prediction list it was found, not by which entry of that list. The frames in reach are
known, and encoders refer mostly to the nearest one in the list's direction. So the nearest is taken, unless it explains
the block badly and another one clearly better. The same holds for a vector of a bi-predicted block that stands for no
prediction at all: FFmpeg exports a zero vector for each unused half of a macroblock.
"""

from __future__ import annotations

import numpy as np

from codec import kernels
from codec.h264.dpb import Reference
from codec.motion.block_grid import BlockMotion
from codec.motion.reference_pictures import Stack
from codec.types import Float32Array, Int32Array, UInt8Array

_CLEARLY = 0.75
"""Another reference is clearly better when its error is below this share of the nearest one's ..."""

_GAIN = 1.0
"""... and lower by this many levels at least."""

_FIELD_FACTORS = (2.0, 0.5)
"""What a vector of a field may be multiplied by to count lines of the frame."""


def by_distance(frames: tuple[Reference, ...], index: int, prediction_list: int) -> tuple[Reference, ...]:
    """Frames in reach, likeliest first, for a block of the frame at presentation `index`.

    List 0 prefers past frames, nearest first, then future ones; list 1 the other way round (clause 8.2.4.2.3).
    """

    def rank(frame: Reference) -> tuple[bool, int]:
        distance = frame.index - index
        return (distance > 0) != (prediction_list == 1), abs(distance)

    return tuple(sorted(frames, key=rank))


class Matcher:
    """Finds each block's reference: first guesses, and what to do with those that are doubtful.

    Args:
        stack: Holds the frames in reach.
        frames: Frames in reach.
        index: The frame's position in presentation order.
    """

    def __init__(self, stack: Stack, frames: tuple[Reference, ...], index: int) -> None:
        self._stack = stack
        self._orders = [
            np.array([stack.slot(f.decode_index) for f in by_distance(frames, index, which)], np.int32)
            for which in (0, 1)
        ]

    def nearest(self, blocks: BlockMotion) -> Int32Array:
        """First guess: slot [n + 1] of the nearest frame in each block's direction, -1 for "no block", the last one."""
        slot = np.empty(len(blocks.lists) + 1, np.int32)
        slot[:-1] = np.array([order[0] for order in self._orders])[blocks.lists]
        slot[-1] = -1
        return slot

    def improve(self, blocks: BlockMotion, slot: Int32Array, luma: UInt8Array, excess: Float32Array) -> Int32Array:
        """Slots [n + 1] after questioning those of blocks that `slot` explains badly.

        Args:
            blocks: Blocks of the frame.
            slot: int32 [n + 1], first guess.
            luma: uint8 [height, width], the frame.
            excess: float32 [n + 1], above 0 for blocks that the first guess explains badly.
        """
        improved = slot.copy()
        for which in (0, 1):
            kernels.rematch(
                which, self._orders[which], excess, _CLEARLY, _GAIN,
                blocks.block, blocks.vectors, blocks.lists, blocks.corners, improved, self._stack.pictures, luma,
            )  # fmt: skip
        return improved

    def unfold(self, blocks: BlockMotion, slot: Int32Array, luma: UInt8Array) -> Float32Array:
        """Vectors [n + 1, 2] of an interlaced frame, in lines of the frame.

        Blocks of one field are exported with vectors that count the lines of that field, by some decoders twice over,
        and nothing says which blocks those are. So the vertical part is doubled or halved where that explains a block
        clearly better.
        """
        vectors = blocks.vectors.copy()
        kernels.unfold(
            np.array(_FIELD_FACTORS), _CLEARLY, _GAIN,
            blocks.block, blocks.vectors, blocks.lists, blocks.corners, slot, self._stack.pictures, luma, vectors,
        )  # fmt: skip
        return vectors
