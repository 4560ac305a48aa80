"""Draw labels over a picture: half transparent in the palette's colors, with an outline."""

from __future__ import annotations

import cv2
import numpy as np

from codec.types import UInt8Array
from service.writers.palette import PALETTE

OPACITY = 0.5
OUTLINE_SHARE = 1 / 360
"""Width of the outline as a share of the shorter side: 2 pixels at 720p."""


def blend(picture: UInt8Array, labels: UInt8Array) -> UInt8Array:
    """Return RGB picture uint8 [h, w, 3] with labels uint8 [h, w] drawn over it; the input is not changed."""
    drawn = np.ascontiguousarray(picture).copy()
    margin = max(1, round(min(labels.shape) * OUTLINE_SHARE))
    box = _bounding_box(labels, margin)
    if box is None:
        return drawn
    part, part_labels = drawn[box], np.ascontiguousarray(labels[box])
    inside = part_labels > 0
    tinted = cv2.addWeighted(part, 1 - OPACITY, PALETTE[part_labels], OPACITY, 0)
    part[inside] = tinted[inside]
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    highest = cv2.dilate(part_labels, kernel)
    outline = highest != cv2.erode(part_labels, kernel)
    part[outline] = PALETTE[highest[outline]]
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
