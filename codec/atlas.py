"""The reference pictures in reach side by side in one array, so that one remap predicts from all of them."""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from codec.errors import UnsupportedSizeError
from codec.types import Float32Array, Int32Array, UInt8Array

BORDER = 8
"""Pixels by which each picture is continued with its edge: two cells, so that a cell beyond it sees the edge only."""

_SIDE_LIMIT = 32767
"""cv2.remap addresses its source by 16-bit integers."""


class Atlas:
    """Pictures of one size, each in a slot of its own, named by decode index.

    Args:
        size: (width, height) of the pictures.
        slots: Most pictures to hold at once.

    Attributes:
        picture: uint8 [slot rows * slot height, slot columns * slot width].
    """

    def __init__(self, size: tuple[int, int], slots: int) -> None:
        self.size = size
        width, height = (side + 2 * BORDER for side in size)
        across = min(_SIDE_LIMIT // width, int(np.ceil(np.sqrt(slots))))
        if across == 0 or height > _SIDE_LIMIT:
            raise UnsupportedSizeError(f"analysis size is {size[0]}x{size[1]}; sides up to 32000 pixels are allowed")
        down = min(_SIDE_LIMIT // height, -(-slots // across))
        self.picture: UInt8Array = np.empty((down * height, across * width), np.uint8)
        self._free = [(column * width, row * height) for row in range(down) for column in range(across)][::-1]
        self._corners: dict[int, tuple[int, int]] = {}

    def put(self, name: int, picture: UInt8Array) -> None:
        """Copy a picture [height, width] into a free slot, or into that of the oldest picture where none is free."""
        if not self._free:
            self._release(min(self._corners))
        x, y = self._corners[name] = self._free.pop()
        height, width = (side + 2 * BORDER for side in picture.shape)
        slot = self.picture[y : y + height, x : x + width]
        cv2.copyMakeBorder(picture, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE, dst=slot)

    def keep(self, names: Collection[int]) -> None:
        """Free the slots of all pictures but these."""
        for name in [held for held in self._corners if held not in names]:
            self._release(name)

    def corner(self, name: int) -> tuple[int, int]:
        """Where pixel (0, 0) of a picture is, (x, y)."""
        x, y = self._corners[name]
        return x + BORDER, y + BORDER

    def origins(self, names: Int32Array, otherwise: int) -> tuple[Float32Array, Float32Array]:
        """Where pixel (0, 0) of pictures is: x and y of each of `names` [n], of `otherwise` for -1."""
        first = min(self._corners)
        table = np.zeros((2, max(self._corners) - first + 2), np.float32)
        for name, corner in self._corners.items():
            table[:, name - first + 1] = corner
        table[:, 0] = self._corners[otherwise]
        table += BORDER
        rows = np.maximum(names - (first - 1), 0)
        return np.take(table[0], rows), np.take(table[1], rows)

    def _release(self, name: int) -> None:
        self._free.append(self._corners.pop(name))
