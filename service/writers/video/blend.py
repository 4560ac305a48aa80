"""Draw labels over a picture: tinted in the color of each object, with a light outline."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from codec.types import UInt8Array

OPACITY = 0.5
OUTLINE_SHARE = 1 / 360
"""Width of the outline as a share of the shorter side: 2 pixels at 720p."""
OUTLINE_WHITE = 0.65
"""Share of white in the color of an outline, which shows on pictures of the object's own color."""


def outline_colors(palette: UInt8Array) -> UInt8Array:
    """Return the RGB colors uint8 [n, 3] of the outlines for the colors of objects."""
    return np.asarray(np.rint(palette * (1 - OUTLINE_WHITE) + 255 * OUTLINE_WHITE), np.uint8)


def blend(
    planes: npt.NDArray[Any],
    labels: UInt8Array,
    tint: npt.NDArray[Any],
    outline: npt.NDArray[Any],
    opacity: float = OPACITY,
) -> npt.NDArray[Any]:
    """Return a picture with labels drawn over it; the input is not changed.

    Args:
        planes: Picture [3, height, width] of any color space, uint8 or uint16.
        labels: uint8 [height, width]; 0 is not drawn.
        tint: Colors [256, 3] of the labels, in the color space of the picture.
        outline: Colors [256, 3] of their outlines, likewise.
        opacity: Share of the tint inside an object, 0 to 1.
    """
    drawn = np.array(planes, order="C")
    margin = max(1, round(min(labels.shape) * OUTLINE_SHARE))
    box = _bounding_box(labels, margin)
    if box is None:
        return drawn
    part_labels = np.ascontiguousarray(labels[box])
    inside = part_labels > 0
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    highest = cv2.dilate(part_labels, kernel)
    edge = highest != cv2.erode(part_labels, kernel)
    for channel, plane in enumerate(drawn):
        part = plane[box]
        tinted = cv2.addWeighted(part, 1 - opacity, tint[:, channel][part_labels], opacity, 0)
        part[inside] = tinted[inside]
        part[edge] = outline[:, channel][highest[edge]]
    return drawn


def _bounding_box(labels: UInt8Array, margin: int) -> tuple[slice, slice] | None:
    """Return the rows and columns that hold an object, widened by `margin`; None without an object."""
    rows, columns = np.flatnonzero(labels.any(axis=1)), np.flatnonzero(labels.any(axis=0))
    if not len(rows):
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )
