"""Which decoded frame each block is predicted from (pure).

A block's vector says by which prediction list it was found, not by which entry of that list. The frames in reach are
known, and encoders refer mostly to the nearest one in the list's direction.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from codec.types import UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A decoded frame that others may be predicted from.

    Attributes:
        decode_index: Its position in decode order.
        index: Its position in presentation order.
        luma: uint8 [height, width] at analysis size.
    """

    decode_index: int
    index: int
    luma: UInt8Array


class Reach:
    """The frames that the next frame may refer to: a sliding window in decode order (H.264 clause 8.2.5.3)."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._frames: OrderedDict[int, Reference] = OrderedDict()

    @property
    def frames(self) -> tuple[Reference, ...]:
        """Frames in reach, oldest first."""
        return tuple(self._frames.values())

    @property
    def decode_indices(self) -> tuple[int, ...]:
        """Their decode indices, ascending."""
        return tuple(self._frames)

    def clear(self) -> None:
        """Forget all frames: nothing after this refers to them."""
        self._frames.clear()

    def add(self, frame: Reference) -> None:
        """Take a frame in; the oldest one leaves when there are too many."""
        self._frames[frame.decode_index] = frame
        while len(self._frames) > self.capacity:
            self._frames.popitem(last=False)


def by_distance(frames: tuple[Reference, ...], index: int, prediction_list: int) -> tuple[Reference, ...]:
    """Frames in reach, likeliest first, for a block of the frame at presentation `index`.

    List 0 prefers past frames, nearest first, then future ones; list 1 the other way round (clause 8.2.4.2.3).
    """

    def rank(frame: Reference) -> tuple[bool, int]:
        distance = frame.index - index
        return (distance > 0) != (prediction_list == 1), abs(distance)

    return tuple(sorted(frames, key=rank))
