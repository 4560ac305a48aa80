"""Find the few plain colors of a picture whose edges are smoothed, or that went through JPEG.

A mask has a few colors, each with areas of its own. Smoothing adds colors that lie between two of them and occur only
along edges; JPEG adds noise around edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from codec.types import UInt8Array
from service.prompts.colors.exact import (
    ALL_COLORS,
    ColorClasses,
    distinct_colors,
    is_between,
    packed_colors,
    unpacked_colors,
)

_FLAT = 16
"""Largest difference in any channel between neighbors inside an area."""
_RADIUS = 24
"""Colors within this difference in each channel are variants of one plain color."""
_CLOSE = 12
"""Most variants of a plain color differ by at most this much."""
_PLAIN_SHARE = 0.9
"""Share of the pixels inside areas that has to be close to a plain color."""
_FLAT_SHARE = 0.5
_MIN_PIXELS = 16
_SOLID_SIDE = 5
"""A plain color fills at least one square of this side; smoothed edges and noise of JPEG do not."""
_OTHER_PIXELS = 1
"""Pixels inside an area of another color from which it counts; an area of 3 x 3 pixels has one."""
_MOST_BETWEEN = 2
_MAX_GROUPS = 500
_MAX_PLAIN = 64
_EDGE_WIDTH = 7
"""Pixels along an edge take a color that occurs within a square of this side."""
_NEIGHBORS = np.ones((3, 3), np.uint8)


def merge_to_plain(rgb: UInt8Array) -> ColorClasses | None:
    """Give each pixel of RGB uint8 [height, width, 3] one of the picture's plain colors; None if these are not plain.

    A pixel along an edge takes the nearest of the colors beside it. So the edge between red and green, which has shades
    of olive, does not become a line of an olive object.
    """
    flat = np.asarray((cv2.dilate(rgb, _NEIGHBORS) - cv2.erode(rgb, _NEIGHBORS)).max(axis=2) <= _FLAT)
    if flat.mean() < _FLAT_SHARE:
        return None
    packed = packed_colors(rgb)
    centers = _plain_centers(packed, flat)
    if centers is None:
        return None
    if _has_other_areas(packed, centers):
        return None
    labels, is_close = _nearest(packed, centers)
    return ColorClasses(centers, _edges_from_beside(rgb, labels, flat & is_close, centers))


def _plain_centers(packed: npt.NDArray[np.uint32], flat: npt.NDArray[np.bool_]) -> UInt8Array | None:
    """The plain colors [k, 3] of packed pixels [height, width], ascending; None if much lies between them."""
    histogram = np.bincount(packed[flat])
    found = np.flatnonzero(histogram)
    groups = _groups(unpacked_colors(found), histogram[found])
    if len(groups) > _MAX_GROUPS:
        return None
    colors = unpacked_colors(found[[group.position for group in groups]])
    solid = _solid_pixels(packed, colors)
    plain: list[int] = []
    between = []
    for number in range(len(groups)):
        if solid[number] and len(plain) > 1 and is_between(colors[number : number + 1], colors[plain])[0]:
            between.append(number)
        elif solid[number]:
            plain.append(number)
    # A chain of shades is a wide soft edge; one or two of them are objects that have such a color.
    chosen = plain + between
    is_plain = sum(groups[number].close for number in chosen) >= _PLAIN_SHARE * flat.sum()
    if not chosen or not is_plain or len(between) > _MOST_BETWEEN or len(chosen) > _MAX_PLAIN:
        return None
    return unpacked_colors(np.sort(packed_colors(colors[chosen])))


@dataclass(frozen=True, slots=True)
class _Group:
    """A color and its variants: its position among the colors, and the number of pixels that are close to it."""

    position: int
    close: int


def _groups(colors: UInt8Array, counts: npt.NDArray[np.int64]) -> list[_Group]:
    """Group colors [n, 3] around the most frequent ones, largest first; groups of a few pixels are left out."""
    left, wide = counts.copy(), colors.astype(np.int16)
    groups: list[_Group] = []
    while left.max(initial=0) and len(groups) <= _MAX_GROUPS:
        center = int(left.argmax())
        distance = np.abs(wide - wide[center]).max(axis=1)
        close = int(left[distance <= _CLOSE].sum())
        left[distance <= _RADIUS] = 0
        if close >= _MIN_PIXELS:
            groups.append(_Group(center, close))
    return sorted(groups, key=lambda group: -group.close)


def _solid_pixels(packed: npt.NDArray[np.uint32], colors: UInt8Array) -> npt.NDArray[np.int64]:
    """Number of pixels per color around which a whole square is close to that color."""
    nearest, is_close = _nearest(packed, colors)
    groups = np.where(is_close, nearest + 1, 0).astype(np.uint16)
    square = np.ones((_SOLID_SIDE, _SOLID_SIDE), np.uint8)
    is_solid = cv2.erode(groups, square) == cv2.dilate(groups, square)
    return np.bincount(groups[is_solid], minlength=len(colors) + 1)[1:]


def _has_other_areas(packed: npt.NDArray[np.uint32], centers: UInt8Array) -> bool:
    """Whether areas have a color of their own that is not a center: an object that noise has broken up, for example."""
    found = distinct_colors(packed)
    colors = unpacked_colors(found)
    is_far = np.min([_distance(colors, center) for center in centers], axis=0) > 2 * _RADIUS
    is_far[is_far] = ~is_between(colors[is_far], centers)
    table = np.zeros(ALL_COLORS, np.uint8)
    table[found] = is_far
    return int(cv2.erode(table[packed], _NEIGHBORS).sum()) >= _OTHER_PIXELS


def _nearest(
    packed: npt.NDArray[np.uint32], centers: UInt8Array
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    """Position of the nearest center per packed pixel [height, width], and whether it is close."""
    found = distinct_colors(packed)
    distances = np.stack([_distance(unpacked_colors(found), center) for center in centers])
    nearest, is_close = np.zeros(ALL_COLORS, np.uint16), np.zeros(ALL_COLORS, np.bool_)
    nearest[found], is_close[found] = distances.argmin(axis=0), distances.min(axis=0) <= _CLOSE
    return nearest[packed], is_close[packed]


def _edges_from_beside(
    rgb: UInt8Array, labels: npt.NDArray[np.uint16], is_sure: npt.NDArray[np.bool_], centers: UInt8Array
) -> npt.NDArray[np.uint16]:
    """Give pixels that are not sure the nearest of the colors that sure pixels around them have.

    Where these have one color or none, the pixel is no blend of theirs but may be part of a thin object: it keeps the
    nearest color.
    """
    rows, columns = np.nonzero(~is_sure)
    edge, chosen = rgb[rows, columns], labels[rows, columns]
    best, beside = np.full(len(rows), np.inf, np.float32), np.zeros(len(rows), np.uint8)
    nearest = chosen.copy()
    square = np.ones((_EDGE_WIDTH, _EDGE_WIDTH), np.uint8)
    for label, center in enumerate(centers):
        is_beside = cv2.dilate((is_sure & (labels == label)).astype(np.uint8), square)[rows, columns] > 0
        distance = np.where(is_beside, _distance(edge, center), np.float32(np.inf))
        closer = distance < best
        beside += is_beside
        chosen[closer], best[closer] = label, distance[closer]
    labels[rows, columns] = np.where(beside > 1, chosen, nearest)
    return labels


def _distance(colors: UInt8Array, center: UInt8Array) -> npt.NDArray[np.float32]:
    """Largest difference in a channel, plus a little of the sum so that ties are rare: float32 [n] of colors [n, 3]."""
    difference = np.abs(colors.astype(np.int16) - center)
    return np.asarray(difference.max(axis=1) + difference.sum(axis=1) / np.float32(1024), np.float32)
