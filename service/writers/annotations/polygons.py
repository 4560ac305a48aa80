"""COCO instances whose masks are polygons, for programs that cannot read run lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from service.writers.annotations.coco import CocoWriter
from service.writers.categories import Categories
from service.writers.mask_line import decode_rle
from service.writers.writer import MakeTemporary, Target

TOLERANCE = 1.0
"""Farthest distance in pixels of an outline from the mask's edge."""
_LEAST_POINTS = 3
_ENLARGED = 2
"""Outlines pass through the centers of pixels; on a mask of twice the size these lie near the edges of the pixels."""


class PolygonWriter(CocoWriter):
    """Like `CocoWriter`, with one polygon per connected part. Holes are filled, which polygons of COCO cannot express.

    Args:
        target: File to write.
        size: Width and height of the masks in pixels.
        categories: Names of the objects.
        info: The file's `info`.
        temporary: Makes temporary files; beside `target` by default.
        tolerance: Farthest distance in pixels of a polygon from the outline; 0 keeps every corner.
    """

    def __init__(
        self,
        target: Target,
        size: tuple[int, int],
        categories: Categories,
        info: Mapping[str, Any],
        temporary: MakeTemporary | None = None,
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        self._tolerance = tolerance
        super().__init__(target, size, categories, info, temporary)

    def _annotation(self, line: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
        mask = decode_rle(entry["rle"])
        return super()._annotation(line, entry) | {"segmentation": polygons_of(mask, entry["bbox"], self._tolerance)}


def polygons_of(mask: npt.NDArray[np.bool_], bbox: list[int], tolerance: float) -> list[list[float]]:
    """Return the outlines of a mask as polygons [x1, y1, x2, y2, ...] in pixels, one per connected part.

    Args:
        mask: bool [height, width].
        bbox: The mask's bounding box (x, y, width, height) in pixels.
        tolerance: Farthest distance in pixels from the outline.
    """
    left, top, width, height = bbox
    part = mask[top : top + height, left : left + width].astype(np.uint8)
    large = np.kron(part, np.ones((_ENLARGED, _ENLARGED), np.uint8))
    outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for outline in outlines:
        simple = cv2.approxPolyDP(outline, _ENLARGED * tolerance, closed=True)
        corners = simple if len(simple) >= _LEAST_POINTS else outline
        points = (corners.reshape(-1, 2) + 0.5) / _ENLARGED + (left, top)
        found.append([round(float(value), 2) for value in points.ravel()])
    return found
