"""Sizes in which a mask may come, and where such a mask lies in the video's pictures.

A decoded picture may have a clean aperture, the part that players show, and pixels that are not square. A user who
draws a mask on a picture of a player gets the size that the player shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from codec.types import UInt8Array, VideoInfo
from service.errors import MaskSizeError

_ROUNDING = 1
"""Players round a scaled side up, down, or to the nearest pixel."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A size of masks, and the part of the video that such a mask covers.

    Attributes:
        width, height: Size of the mask in pixels, display orientation.
        area: Part of the display picture (x, y, width, height) in pixels.
        reason: How the size comes about, in plain words.
        tolerance: Pixels by which width and height may differ.
    """

    width: int
    height: int
    area: tuple[int, int, int, int]
    reason: str
    tolerance: tuple[int, int] = (0, 0)

    def accepts(self, size: tuple[int, int]) -> bool:
        """Whether a mask of this size (width, height) belongs here."""
        return abs(size[0] - self.width) <= self.tolerance[0] and abs(size[1] - self.height) <= self.tolerance[1]

    def place(self, labels: UInt8Array, info: VideoInfo) -> UInt8Array:
        """Return labels uint8 in display size; outside of the area is background."""
        x, y, width, height = self.area
        if labels.shape != (height, width):
            labels = np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
        if (width, height) == (info.display_width, info.display_height):
            return labels
        placed = np.zeros((info.display_height, info.display_width), np.uint8)
        placed[y : y + height, x : x + width] = labels
        return placed


def placements(info: VideoInfo) -> tuple[Placement, ...]:
    """Return the sizes that a mask may have; the first is the display size."""
    full = (0, 0, info.display_width, info.display_height)
    found = [Placement(full[2], full[3], full, "as decoded")]
    areas = [(full, "")]
    if info.clean_aperture is not None:
        clean = info.display_clean_aperture
        found.append(Placement(clean[2], clean[3], clean, "clean aperture"))
        areas.insert(0, (clean, "clean aperture, "))
    aspect = info.sample_aspect_ratio
    if aspect != 1:
        aspect = 1 / aspect if info.rotation in (90, 270) else aspect
        name = f"pixels {info.sample_aspect_ratio.numerator}:{info.sample_aspect_ratio.denominator}"
        for area, prefix in areas:
            wide = Placement(round(area[2] * aspect), area[3], area, prefix + name, (_ROUNDING, 0))
            high = Placement(area[2], round(area[3] / aspect), area, prefix + name, (0, _ROUNDING))
            found += [wide, high] if aspect > 1 else [high, wide]
    return tuple(found)


def placement_of(size: tuple[int, int], info: VideoInfo) -> Placement:
    """Return the placement of a mask of this size (width, height).

    Raises:
        MaskSizeError: The video has no such size; the message lists the ones that it has.
    """
    allowed = placements(info)
    for placement in allowed:
        if placement.accepts(size):
            return placement
    display, *others = allowed
    if others:
        shown = "".join(f", {other.width}x{other.height} ({other.reason})" for other in others)
        sizes = (
            f"the video is {display.width}x{display.height} as decoded{shown}; the mask must have one of these sizes"
        )
    else:
        sizes = f"the video is displayed at {display.width}x{display.height}; both must be equal"
    if size == (display.height, display.width) and info.rotation in (90, 270):
        sizes += f"; the coded picture is {info.coded_width}x{info.coded_height} and turned by {info.rotation} degrees"
    raise MaskSizeError(f"the mask is {size[0]}x{size[1]}; {sizes}", *size)
