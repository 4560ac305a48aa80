"""Find the few plain colors of a picture whose edges are smoothed, or that went through JPEG.

A mask has a few colors, each with areas of its own. Smoothing adds colors that lie between two of them and occur only
along edges; JPEG adds noise around edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from codec.types import UInt8Array

MAX_COLORS = 256
"""Most colors that can be labels: 255 objects and the background."""

_CONTRAST = 64
"""Two colors that differ by less in every channel have no visible colors between them."""
_BLEND_DISTANCE = 12
"""How far in any channel a blend of two colors may be from the line between them."""
_BLEND_SHARE = 0.15
"""Share of the pixels along edges that have to be blends; a small object of such a color has fewer."""
_FLAT = 16
"""Largest difference in any channel between neighbors inside an area."""
_RADIUS = 48
"""Colors within this difference in each channel are variants of one plain color."""
_CLOSE = 24
"""Most variants of a plain color differ by at most this much."""
_CLOSE_SHARE = 0.8
_FLAT_SHARE = 0.5
_COVERED_SHARE = 0.99
_MIN_PIXELS = 16
_MAX_PLAIN = 64
_EDGE_WIDTH = 7
"""Pixels along an edge take a color that occurs within a square of this side."""
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
    packed = _packed(rgb)
    present = np.zeros(1 << 24, np.bool_)
    present[packed] = True
    found = np.flatnonzero(present)
    if len(found) > MAX_COLORS:
        return None
    table = np.zeros(1 << 24, np.uint16)
    table[found] = np.arange(len(found))
    return ColorClasses(_unpacked(found), table[packed])


def is_smoothed(exact: ColorClasses) -> bool:
    """Whether colors between two others lie along much of their edges, as after smoothing."""
    flat = cv2.erode(exact.classes, _NEIGHBORS) == cv2.dilate(exact.classes, _NEIGHBORS)
    inner = np.bincount(exact.classes[flat], minlength=len(exact.colors))
    edge_pixels = int((~flat).sum())
    cores = np.argsort(-inner, kind="stable")[:16]
    cores = cores[inner[cores] > 0]
    thin = np.flatnonzero(inner == 0)
    if not len(thin) or not edge_pixels:
        return False
    blends = thin[_is_between(exact.colors[thin], exact.colors[cores])]
    share = exact.counts[blends].sum() / edge_pixels
    return bool(share >= (_BLEND_SHARE if len(blends) > 1 else 2 * _BLEND_SHARE))


def _is_between(colors: UInt8Array, cores: UInt8Array) -> npt.NDArray[np.bool_]:
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


def merge_to_plain(rgb: UInt8Array) -> ColorClasses | None:
    """Give each pixel of RGB uint8 [height, width, 3] one of the picture's plain colors; None if these are not plain.

    A pixel along an edge takes the nearest of the colors beside it. So the edge between red and green, which has shades
    of olive, does not become a line of an olive object.
    """
    flat = np.asarray((cv2.dilate(rgb, _NEIGHBORS) - cv2.erode(rgb, _NEIGHBORS)).max(axis=2) <= _FLAT)
    if flat.mean() < _FLAT_SHARE:
        return None
    centers = _plain_centers(rgb[flat])
    if centers is None:
        return None
    return ColorClasses(centers, _nearest_beside(rgb, flat, centers))


def _plain_centers(pixels: UInt8Array) -> UInt8Array | None:
    """The plain colors [k, 3] of pixels [n, 3] inside areas, ascending; None if much lies between them."""
    found, counts = np.unique(_packed(pixels), return_counts=True)
    colors = _unpacked(found).astype(np.int16)
    left, total, covered = counts.copy(), counts.sum(), 0
    centers: list[int] = []
    while covered < _COVERED_SHARE * total or left.max() >= _MIN_PIXELS:
        center = int(left.argmax())
        distance = np.abs(colors - colors[center]).max(axis=1)
        near = int(left[distance <= _RADIUS].sum())
        if near < _MIN_PIXELS or len(centers) == _MAX_PLAIN:
            return None
        if left[distance <= _CLOSE].sum() < _CLOSE_SHARE * near:
            return None
        left[distance <= _RADIUS] = 0
        covered += near
        centers.append(center)
    return _unpacked(np.sort(found[centers]))


def _nearest_beside(rgb: UInt8Array, flat: npt.NDArray[np.bool_], centers: UInt8Array) -> npt.NDArray[np.uint16]:
    labels = np.zeros(rgb.shape[:2], np.uint16)
    best = np.full(rgb.shape[:2], np.inf, np.float32)
    for label, center in enumerate(centers):
        distance = _distance(rgb, center)
        closer = distance < best
        labels[closer], best[closer] = label, distance[closer]
    is_sure = flat & (best <= _CLOSE)
    rows, columns = np.nonzero(~is_sure)
    if not len(rows):
        return labels
    edge = rgb[rows, columns][:, None]
    beside = np.full(len(rows), np.inf, np.float32)
    square = np.ones((_EDGE_WIDTH, _EDGE_WIDTH), np.uint8)
    chosen = labels[rows, columns]
    for label, center in enumerate(centers):
        area = cv2.dilate((is_sure & (labels == label)).astype(np.uint8), square)[rows, columns] > 0
        distance = np.where(area, _distance(edge, center)[:, 0], np.inf)
        closer = distance < beside
        chosen[closer], beside[closer] = label, distance[closer]
    labels[rows, columns] = chosen
    return labels


def _distance(rgb: UInt8Array, center: UInt8Array) -> npt.NDArray[np.float32]:
    """Largest difference in a channel, plus a little of the mean so that ties are rare: float32 [height, width]."""
    difference = cv2.absdiff(rgb, np.broadcast_to(center, rgb.shape).copy())
    return np.asarray(difference.max(axis=2) + difference.mean(axis=2) / 256, np.float32)


def _packed(rgb: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    wide = rgb.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], np.uint32)


def _unpacked(packed: npt.NDArray[Any]) -> UInt8Array:
    return np.stack((packed >> 16, packed >> 8 & 255, packed & 255), axis=-1).astype(np.uint8)
