"""The last reference pictures in one array, a slot each."""

from __future__ import annotations

import numpy as np

from codec.types import Int32Array, UInt8Array


class Stack:
    """Pictures of one size, each in a slot of its own; a new one takes the slot of the oldest.

    Args:
        size: (width, height) of the pictures.
        slots: Most pictures to hold at once.

    Attributes:
        pictures: uint8 [slots, height, width].
        names: int32 [slots + 1], the decode index of each slot's picture, -1 for none; the last entry stays -1.
    """

    def __init__(self, size: tuple[int, int], slots: int) -> None:
        self.pictures: UInt8Array = np.empty((slots, size[1], size[0]), np.uint8)
        self.names: Int32Array = np.full(slots + 1, -1, np.int32)
        self._slots: dict[int, int] = {}
        self._next = 0

    def put(self, name: int, picture: UInt8Array) -> None:
        """Copy a picture [height, width] into the next slot."""
        self.pictures[self._next] = picture
        self._slots.pop(int(self.names[self._next]), None)
        self._slots[name] = self._next
        self.names[self._next] = name
        self._next = (self._next + 1) % len(self.pictures)

    def slot(self, name: int) -> int:
        """Where a picture is."""
        return self._slots[name]
