"""Divide a picture into its exact colors, and tell whether these are the colors of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from codec.types import UInt8Array

ALL_COLORS = 1 << 24
"""Size of a table with an entry per color."""
MAX_COLORS = 256
"""Most colors that can be labels: 255 objects and the background."""

_FEW = 16
"""So few colors may be drawn pixel by pixel."""
_CONTRAST = 64
"""Two colors that differ by less in every channel have no visible colors between them."""
_BLEND_DISTANCE = 12
"""How far in any channel a blend of two colors may be from the line between them."""
_BLEND_SHARE = 0.15
"""Share of the pixels along edges that have to be blends; a small object of such a color has fewer."""
_FLAT_SHARE = 0.5
_NEIGHBORS = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class ColorClasses:
    """A picture as classes of equal color.

    Attributes:
        colors: uint8 [n, 3], ascending by red, green, blue.
        classes: uint16 [height, width], positions in `colors`.
    """

    colors: UInt8Array
    classes: npt.NDArray[np.uint16]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Pixels per class."""
        return np.bincount(self.classes.ravel(), minlength=len(self.colors))


def exact_colors(rgb: UInt8Array) -> ColorClasses | None:
    """Divide RGB uint8 [height, width, 3] into classes of exactly equal color; None for more than `MAX_COLORS`."""
    packed = packed_colors(rgb)
    found = distinct_colors(packed)
    if len(found) > MAX_COLORS:
        return None
    table = np.zeros(ALL_COLORS, np.uint16)
    table[found] = np.arange(len(found))
    return ColorClasses(unpacked_colors(found), table[packed])


def is_smoothed(exact: ColorClasses) -> bool:
    """Whether the colors are not those of objects.

    Either colors between two others lie along much of the edges, as after smoothing; or there are many colors and few
    areas of one color, as in a photograph.
    """
    flat = cv2.erode(exact.classes, _NEIGHBORS) == cv2.dilate(exact.classes, _NEIGHBORS)
    if len(exact.colors) > _FEW and flat.mean() < _FLAT_SHARE:
        return True
    inner = np.bincount(exact.classes[flat], minlength=len(exact.colors))
    edge_pixels = int((~flat).sum())
    cores = np.argsort(-inner, kind="stable")[:16]
    cores = cores[inner[cores] > 0]
    thin = np.flatnonzero(inner == 0)
    if not len(thin) or not edge_pixels:
        return False
    blends = thin[is_between(exact.colors[thin], exact.colors[cores])]
    share = exact.counts[blends].sum() / edge_pixels
    return bool(share >= (_BLEND_SHARE if len(blends) > 1 else 2 * _BLEND_SHARE))


def is_between(colors: UInt8Array, cores: UInt8Array) -> npt.NDArray[np.bool_]:
    """Which colors [n, 3] lie between two cores [k, 3] of different color: bool [n]."""
    points, found = colors.astype(np.float32), np.zeros(len(colors), np.bool_)
    for position, one in enumerate(cores.astype(np.float32)):
        for other in cores[position + 1 :].astype(np.float32):
            line = other - one
            if np.abs(line).max() < _CONTRAST:
                continue
            along = np.clip((points - one) @ line / (line @ line), 0, 1)
            distance = np.abs(points - (one + along[:, None] * line)).max(axis=1)
            found |= distance <= _BLEND_DISTANCE
    return found


def distinct_colors(packed: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return the colors that occur among packed pixels, ascending. A table is faster than sorting the pixels."""
    present = np.zeros(ALL_COLORS, np.bool_)
    present[packed] = True
    return np.flatnonzero(present)


def packed_colors(rgb: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Return colors [..., 3] as 0xRRGGBB, uint32 [...]."""
    wide = rgb.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], np.uint32)


def unpacked_colors(packed: npt.NDArray[Any]) -> UInt8Array:
    """Return colors 0xRRGGBB [...] as uint8 [..., 3]."""
    return np.stack((packed >> 16, packed >> 8 & 255, packed & 255), axis=-1).astype(np.uint8)
