"""The regions of a picture that the refiner sees: boxes around the objects."""

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
"""More pixels than any picture has."""
_PRESENT = 0.1
"""Soft mask above which a cell belongs to an object."""
_SIDE_STEP = 64
"""Sides of a region are multiples of this many pixels, or span the picture. oneDNN prepares each layer again for every
new shape, which takes longer than running it."""
_OUTLIER_MASS = 0.005
"""Share of an object's mass that may lie outside its bounds on each side."""
_MARGIN = 32
"""Pixels around the object bounds, in addition to a share of their size."""
_MARGIN_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Region:
    """A box of the analysis picture. Its sides are multiples of 16 pixels, so it may exceed the picture.

    Attributes:
        top, left, height, width: In pixels.
        max_pixels: Largest region that the network sees at full resolution; a larger one is scaled down.
    """

    top: int
    left: int
    height: int
    width: int
    max_pixels: int = UNLIMITED

    @property
    def cells(self) -> tuple[slice, slice]:
        """Rows and columns of the region in the stride-4 grid."""
        top, left = self.top // STRIDE, self.left // STRIDE
        return slice(top, top + self.height // STRIDE), slice(left, left + self.width // STRIDE)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels at which the network sees the region, multiples of 16."""
        scale = min(1.0, (self.max_pixels / self.area) ** 0.5)
        height, width = (max(1, round(side * scale / COARSEST)) * COARSEST for side in (self.height, self.width))
        return height, width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def overlaps(self, other: Region) -> bool:
        """Return whether the regions have a pixel in common."""
        rows = self.top < other.top + other.height and other.top < self.top + self.height
        return rows and self.left < other.left + other.width and other.left < self.left + self.width

    def cut(self, channels: Tensor) -> Tensor:
        """[C, rows, columns] of the picture -> the region at input size; 0 outside the picture."""
        rows, columns = self.cells
        return self.fit(channels[:, rows, columns])

    def fit(self, part: Tensor) -> Tensor:
        """[C, h, w], the region's cells inside the picture -> the region at input size; 0 outside the picture."""
        below, right = self.height // STRIDE - part.shape[1], self.width // STRIDE - part.shape[2]
        part = F.pad(part, (0, right, 0, below)) if below or right else part
        return resize_grid(part, *self.input_size)

    def paste(self, part: Tensor, onto: Tensor) -> None:
        """Write the region at input size [C, h, w] into the picture [C, rows, columns]."""
        target = onto[:, *self.cells]
        part = resize_grid(part, self.height, self.width)
        target.copy_(part[:, : target.shape[1], : target.shape[2]])

    def pixels(self, picture: UInt8Array) -> UInt8Array:
        """Picture [H, W, 3] -> the region at input size, the border repeated outside the picture."""
        part = picture[self.top : self.top + self.height, self.left : self.left + self.width]
        below, right = self.height - part.shape[0], self.width - part.shape[1]
        if below or right:
            part = np.asarray(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        height, width = self.input_size
        return part if part.shape[:2] == (height, width) else shrink_picture(part, width, height)


def resize_grid(part: Tensor, height: int, width: int) -> Tensor:
    """Cells [C, h, w] or [B, C, h, w] -> the stride-4 grid of height x width pixels."""
    size = (height // STRIDE, width // STRIDE)
    if part.shape[-2:] == size:
        return part
    batch = part if part.ndim == 4 else part.unsqueeze(0)
    # Upsampling needs no antialiasing and is faster without it.
    shrinks = size[0] < part.shape[-2] or size[1] < part.shape[-1]
    out = F.interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    return out.view(*part.shape[:-2], *size)


def shrink_picture(picture: UInt8Array, width: int, height: int) -> UInt8Array:
    """Scale a picture [H, W, 3] down as the refiner sees large regions."""
    # Area interpolation is slow at fractional ratios and only matters where pixels would be skipped.
    method = cv2.INTER_LINEAR if 2 * width > picture.shape[1] and 2 * height > picture.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def bounds_by_object(soft: Tensor) -> dict[int, Span2D]:
    """Return the bounds in pixels of each object in soft masks [K, rows, columns], by its number from 0.

    On each side, the outermost half percent of an object's mass is ignored: cells that propagation scattered.
    """
    found = {}
    for number, plane in enumerate(soft.cpu().numpy()):
        mass = cv2.threshold(plane, _PRESENT, 0, cv2.THRESH_TOZERO)[1]
        across, down = (np.asarray(cv2.reduce(mass, axis, cv2.REDUCE_SUM), np.float32).ravel() for axis in (1, 0))
        if across.any():
            found[number] = _without_outliers(across), _without_outliers(down)
    return found


def object_bounds(soft: Tensor) -> Span2D | None:
    """Return the bounds in pixels of all objects in soft masks [K, rows, columns]; None if there is no object."""
    bounds = list(bounds_by_object(soft).values())
    return union(bounds) if bounds else None


def edge_share(soft: Tensor) -> float:
    """Share of partly filled cells among the objects' cells of soft masks [K, rows, columns]; high for thin objects."""
    present = soft > _PRESENT
    return float((present & (soft < 1 - _PRESENT)).sum() / present.sum().clamp(min=1))


def region_around(bounds: Span2D, grid: tuple[int, int]) -> Region:
    """Return the region around the bounds of objects, in a picture of grid (rows, columns) cells."""
    (top, height), (left, width) = (_with_margin(span, cells) for span, cells in zip(bounds, grid, strict=True))
    return Region(top, left, height, width)


def union(bounds: list[Span2D]) -> Span2D:
    """Return the bounds of everything that has one of these bounds."""
    rows, columns = zip(*bounds, strict=True)
    return _outer(rows), _outer(columns)


def _outer(spans: tuple[Span, ...]) -> Span:
    return min(first for first, _ in spans), max(last for _, last in spans)


def _without_outliers(mass: Float32Array) -> Span:
    """Span in pixels that holds all but the outlier mass of an axis, given the mass per cell."""
    below = np.cumsum(mass) / mass.sum()
    return int(np.argmax(below > _OUTLIER_MASS)) * STRIDE, (int(np.argmax(below >= 1 - _OUTLIER_MASS)) + 1) * STRIDE


def _with_margin(span: Span, cells: int) -> tuple[int, int]:
    """Start and length in pixels of a region's side, from the object bounds and the picture's number of cells."""
    first, last = span
    margin = _MARGIN + int(_MARGIN_SHARE * (last - first))
    whole = -(-cells * STRIDE // COARSEST) * COARSEST
    length = min(whole, -(-(last - first + 2 * margin) // _SIDE_STEP) * _SIDE_STEP)
    start = (first + last - length) // 2 // COARSEST * COARSEST
    return min(max(0, start), whole - length), length
