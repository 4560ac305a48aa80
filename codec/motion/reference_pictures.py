"""The reference pictures in one array, a slot each."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from codec.types import Int32Array, UInt8Array


class Stack:
    """Pictures of one size, each in a slot of its own.

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

    def put(self, name: int, picture: UInt8Array, keep: Collection[int]) -> None:
        """Copy a picture [height, width] into a slot, and give those away whose pictures are not in `keep`.

        The first free slot is taken: it was used a short while ago, so its memory is near.
        """
        self._slots = {held: slot for held, slot in self._slots.items() if held in keep}
        taken = set(self._slots.values())
        slot = next(slot for slot in range(len(self.pictures)) if slot not in taken)
        self.pictures[slot] = picture
        self.names[slot] = name
        self._slots[name] = slot

    def slot(self, name: int) -> int:
        """Where a picture is."""
        return self._slots[name]
