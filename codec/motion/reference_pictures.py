"""Keep the reference pictures in one array, each in a slot."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from codec.types import Int32Array, UInt8Array


class ReferencePictures:
    """Reference pictures of one size.

    Args:
        size: Size (width, height) of the pictures in pixels.
        slots: Most pictures to hold.

    Attributes:
        pictures: uint8 [slots, height, width].
        decode_indices: int32 [slots + 1], decode index of the picture in each slot, -1 if it was never used. The last
            entry is -1.
    """

    def __init__(self, size: tuple[int, int], slots: int) -> None:
        self.pictures: UInt8Array = np.empty((slots, size[1], size[0]), np.uint8)
        self.decode_indices: Int32Array = np.full(slots + 1, -1, np.int32)
        self._slots: dict[int, int] = {}

    def add(self, decode_index: int, picture: UInt8Array, keep: Collection[int]) -> None:
        """Copy a picture [height, width] into a slot and free the slots of pictures whose index is not in `keep`.

        The lowest free slot is used, since its memory is the likeliest to be cached.
        """
        self._slots = {index: slot for index, slot in self._slots.items() if index in keep}
        used = set(self._slots.values())
        slot = next(slot for slot in range(len(self.pictures)) if slot not in used)
        self.pictures[slot] = picture
        self.decode_indices[slot] = decode_index
        self._slots[decode_index] = slot

    def slot(self, decode_index: int) -> int:
        """Slot of a picture."""
        return self._slots[decode_index]
