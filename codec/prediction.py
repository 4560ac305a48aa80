"""Motion-compensated prediction of cells from the pictures of an atlas (pure).

The prediction is bilinear, edges repeated; the two lists of a bi-predicted cell are averaged. It differs from the codec's
own by the interpolation filter, weighted prediction and deblocking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from codec.atlas import BORDER, Atlas
from codec.types import STRIDE, Float32Array, Int32Array, UInt8Array

_STEPS = 32
"""Steps of a pixel that cv2.remap distinguishes with fixed-point maps."""

_SHIFT = 5

Places: TypeAlias = tuple[Int32Array, Int32Array]
"""x and y of the place in the atlas that a cell's first pixel is predicted from, in 1/32 pixel."""


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """Where each block of a frame is predicted from; the last entry stands for "no block" and is the frame itself.

    Attributes:
        dx, dy: int32 [n + 1], the block's vector in 1/32 pixel.
        x, y: int32 [n + 1], origin in the atlas of the picture it points into, in 1/32 pixel.
    """

    dx: Int32Array
    dy: Int32Array
    x: Int32Array
    y: Int32Array

    @classmethod
    def of(cls, vectors: Float32Array, reference: Int32Array, atlas: Atlas, current: int) -> Sources:
        """From vectors [n + 1, 2] in pixels and references [n + 1] (-1: none, predicted from `current` itself)."""
        steps = np.rint(vectors * _STEPS).astype(np.int32)
        names, which = np.unique(reference, return_inverse=True)
        origins = np.array([atlas.origin(int(name) if name >= 0 else current) for name in names], np.int32) * _STEPS
        lost = reference < 0
        steps[lost] = 0
        return cls(
            np.ascontiguousarray(steps[:, 0]),
            np.ascontiguousarray(steps[:, 1]),
            origins[which, 0],
            origins[which, 1],
        )

    def places(self, block: Int32Array, column: Int32Array, row: Int32Array, size: tuple[int, int]) -> Places:
        """Places of cells.

        Args:
            block: Block of each cell, -1 for none; any shape.
            column, row: Position of each cell in the field; broadcast with `block`.
            size: (width, height) of the pictures.
        """
        x = _bounded(np.take(self.dx, block) + column * (STRIDE * _STEPS), size[0]) + np.take(self.x, block)
        y = _bounded(np.take(self.dy, block) + row * (STRIDE * _STEPS), size[1]) + np.take(self.y, block)
        return x, y


def _bounded(position: Int32Array, side: int) -> Int32Array:
    """Keep cells within their slot of the atlas: beyond the border there is only more of the same."""
    np.maximum(position, -BORDER * _STEPS, out=position)
    return np.minimum(position, (side + BORDER - STRIDE - 1) * _STEPS, out=position)


def predict_field(atlas: Atlas, places: Places) -> UInt8Array:
    """Predict all cells of a frame: places [rows, columns] -> uint8 [rows * 4, columns * 4]."""
    rows, columns = places[0].shape
    whole, part = _maps(places)
    step = np.arange(STRIDE, dtype=np.int32)
    wide_whole = np.repeat(whole, STRIDE, axis=1) + np.tile(step, columns)
    wide_part = np.repeat(part, STRIDE, axis=1)
    full_whole = wide_whole[:, None, :] + (step << 16)[None, :, None]
    full_part = np.empty((rows, STRIDE, columns * STRIDE), np.uint16)
    full_part[...] = wide_part[:, None, :]
    shape = (rows * STRIDE, columns * STRIDE)
    return _remap(atlas, full_whole.reshape(shape), full_part.reshape(shape))


def predict_cells(atlas: Atlas, places: Places, step: int = 1) -> UInt8Array:
    """Predict some cells: places [n] -> uint8 [n, (4 / step) ** 2], every `step`-th pixel of each cell, row by row."""
    offset = np.arange(0, STRIDE, step, dtype=np.int32)
    inside = ((offset << 16)[:, None] + offset).ravel()
    whole, part = _maps(places)
    full_whole = whole[:, None] + inside
    return _remap(atlas, full_whole, np.ascontiguousarray(np.broadcast_to(part[:, None], full_whole.shape)))


def _maps(places: Places) -> tuple[Int32Array, npt.NDArray[np.uint16]]:
    """cv2.remap's fixed-point maps: whole pixels, x in the low and y in the high 16 bits, and the place between them."""
    x, y = places
    whole = (y >> _SHIFT << 16) + (x >> _SHIFT)
    part = ((y & (_STEPS - 1)) << _SHIFT) + (x & (_STEPS - 1))
    return whole, part.astype(np.uint16)


def _remap(atlas: Atlas, whole: Int32Array, part: npt.NDArray[np.uint16]) -> UInt8Array:
    """Remap by maps [a, b]; a long thin map is folded, because cv2 limits both sides."""
    shape = whole.shape
    if whole.size == 0:
        return np.zeros(shape, np.uint8)
    place: npt.NDArray[Any] = whole.view(np.int16).reshape(*shape, 2)
    if shape[0] < 32768:
        return np.asarray(cv2.remap(atlas.picture, place, part, cv2.INTER_LINEAR), np.uint8)
    parts = [
        cv2.remap(atlas.picture, place[i : i + 32000], part[i : i + 32000], cv2.INTER_LINEAR)
        for i in range(0, shape[0], 32000)
    ]
    return np.concatenate(parts)


def average(one: UInt8Array, other: UInt8Array) -> UInt8Array:
    """Bi-prediction: the mean, halves rounded up (H.264 clause 8.4.2.3.1)."""
    return ((one.astype(np.uint16) + other + 1) >> 1).astype(np.uint8)
