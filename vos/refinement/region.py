"""The box around the objects, which is all of a picture that the refiner looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, Float32Array, UInt8Array
from vos.modeling.refiner import STRIDE as COARSEST

Span: TypeAlias = tuple[int, int]
"""First pixel of an axis, and the one after the last."""
Span2D: TypeAlias = tuple[Span, Span]
"""Rows and columns."""

UNLIMITED = 1 << 30
"""More pixels than a picture has: a region is looked at as it is."""
_PRESENT = 0.1
"""Soft mask from which a cell belongs to what is looked at."""
_SIDE_STEP = 64
"""Sides of a region are multiples of this many pixels, or the whole picture's: for every new shape the processor's
library prepares each layer anew, which takes longer than running it."""
_OUTLIER_MASS = 0.005
"""Share of an object's mass that is not worth a larger region."""
_MARGIN = 32
"""Pixels around the objects' box, in addition to a share of its size."""
_MARGIN_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Region:
    """A box of the analysis picture, in pixels; its sides are multiples of 16, so it may exceed the picture.

    Attributes:
        top, left, height, width: In pixels.
        max_pixels: Pixels that the network sees as they are; a larger region is made smaller for it.
    """

    top: int
    left: int
    height: int
    width: int
    max_pixels: int = UNLIMITED

    @property
    def cells(self) -> tuple[slice, slice]:
        """Its rows and columns of stride-4 cells."""
        top, left = self.top // STRIDE, self.left // STRIDE
        return slice(top, top + self.height // STRIDE), slice(left, left + self.width // STRIDE)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels, multiples of 16, at which the network sees it: large regions are made smaller."""
        scale = min(1.0, (self.max_pixels / (self.height * self.width)) ** 0.5)
        height, width = (max(1, round(side * scale / COARSEST)) * COARSEST for side in (self.height, self.width))
        return height, width

    def cut(self, channels: Tensor) -> Tensor:
        """[C, rows, columns] of the picture -> cells as the network sees them, 0 beyond the picture."""
        rows, columns = self.cells
        return self.fit(channels[:, rows, columns])

    def fit(self, part: Tensor) -> Tensor:
        """The region's cells [C, h, w], those beyond the picture left out -> as the network sees them, 0 there."""
        below, right = self.height // STRIDE - part.shape[1], self.width // STRIDE - part.shape[2]
        part = F.pad(part, (0, right, 0, below)) if below or right else part
        return resize_grid(part, *self.input_size)

    def paste(self, part: Tensor, onto: Tensor) -> None:
        """Write cells [C, h, w] as the network sees them into those of the picture [C, rows, columns]."""
        target = onto[:, *self.cells]
        part = resize_grid(part, self.height, self.width)
        target.copy_(part[:, : target.shape[1], : target.shape[2]])

    def pixels(self, picture: UInt8Array) -> UInt8Array:
        """[H, W, 3] of the picture -> what the network sees of it, its edge repeated beyond the picture."""
        part = picture[self.top : self.top + self.height, self.left : self.left + self.width]
        below, right = self.height - part.shape[0], self.width - part.shape[1]
        if below or right:
            part = np.pad(part, ((0, below), (0, right), (0, 0)), mode="edge")
        height, width = self.input_size
        return part if part.shape[:2] == (height, width) else shrink_picture(part, width, height)


def resize_grid(part: Tensor, height: int, width: int) -> Tensor:
    """Cells [C, h, w] or [B, C, h, w] -> those of a region of this many pixels."""
    size = (height // STRIDE, width // STRIDE)
    if part.shape[-2:] == size:
        return part
    batch = part if part.ndim == 4 else part.unsqueeze(0)
    # Enlarging needs no filter, and without one is faster.
    shrinks = size[0] < part.shape[-2] or size[1] < part.shape[-1]
    out = F.interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    return out.view(*part.shape[:-2], *size)


def shrink_picture(picture: UInt8Array, width: int, height: int) -> UInt8Array:
    """A picture [H, W, 3] made smaller, as the refiner sees large regions."""
    # Areas are slow for broken ratios, and only matter where pixels would be left out.
    way = cv2.INTER_LINEAR if 2 * width > picture.shape[1] and 2 * height > picture.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)


def object_bounds(soft: Tensor) -> Span2D | None:
    """First and last row and column of pixels of the objects in soft masks [K, rows, columns]; None if there is none.

    Of each object the outermost half percent of its mass on every side is left out: crumbs that motion propagated astray.
    """
    rows, columns = [], []
    for plane in soft.cpu().numpy():
        mass = cv2.threshold(plane, _PRESENT, 0, cv2.THRESH_TOZERO)[1]
        across, down = (np.asarray(cv2.reduce(mass, axis, cv2.REDUCE_SUM), np.float32).ravel() for axis in (1, 0))
        if across.any():
            rows.append(_inner(across))
            columns.append(_inner(down))
    return (_joined(rows), _joined(columns)) if rows else None


def edge_share(soft: Tensor) -> float:
    """Share of the cells of soft masks [K, rows, columns] that are filled in part only: the more, the thinner."""
    there = soft > _PRESENT
    return float((there & (soft < 1 - _PRESENT)).sum() / there.sum().clamp(min=1))


def region_around(soft: Tensor, max_pixels: int = UNLIMITED) -> Region | None:
    """The box to look at for soft masks [K, rows, columns]; None where there is no object."""
    objects = object_bounds(soft)
    if objects is None:
        return None
    (top, height), (left, width) = (_widened(span, cells) for span, cells in zip(objects, soft.shape[1:], strict=True))
    return Region(top, left, height, width, max_pixels)


def _joined(spans: list[Span]) -> Span:
    return min(first for first, _ in spans), max(last for _, last in spans)


def _inner(mass: Float32Array) -> Span:
    """First pixel, and pixel after the last, of an axis between which all but the crumbs of an object lie."""
    below = np.cumsum(mass) / mass.sum()
    return int(np.argmax(below > _OUTLIER_MASS)) * STRIDE, (int(np.argmax(below >= 1 - _OUTLIER_MASS)) + 1) * STRIDE


def _widened(span: Span, cells: int) -> tuple[int, int]:
    """Start and length in pixels of a region's side, from where the objects lie and the number of cells."""
    first, last = span
    margin = _MARGIN + int(_MARGIN_SHARE * (last - first))
    whole = -(-cells * STRIDE // COARSEST) * COARSEST
    length = min(whole, -(-(last - first + 2 * margin) // _SIDE_STEP) * _SIDE_STEP)
    start = (first + last - length) // 2 // COARSEST * COARSEST
    return min(max(0, start), whole - length), length


# ruff: noqa: E501
