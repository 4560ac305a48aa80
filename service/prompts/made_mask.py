"""Make the mask of a frame from boxes and points, and from masks of single objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from codec.types import UInt8Array
from service.prompts.cut_out import BoolArray, Box, CutOut, Point, cut_out
from service.prompts.shapes import Rle, ShapePrompt, check_shapes
from vos.errors import PromptError

_TINY = 4
"""Side of a box in pixels below which no outline can be found in it."""
_MIN_SHARE = 0.02
"""Share of its box below which an object counts as not found."""
_FULL_SHARE = 0.95
"""Share of its box above which no outline was found within it."""
_ALIKE = 0.4
"""`color_overlap` from which a note says so: IoU is 0.3 on average there on development frames, and 0.7 elsewhere."""
_MIN_PART = 0.1
"""Smallest part of an object that is kept, as a share of its largest part."""
_MAX_HOLE = 0.02
"""Largest hole that is filled, as a share of the object."""


@dataclass(frozen=True, slots=True, eq=False)
class MadeMask:
    """A mask that was made from boxes and points.

    Attributes:
        labels: uint8 [height, width]; 0 background, other values object ids.
        notes: What the user should look at, in plain words.
    """

    labels: UInt8Array
    notes: tuple[str, ...]


def make_mask(picture: UInt8Array, shapes: Sequence[ShapePrompt]) -> MadeMask:
    """Make a mask from boxes and points; the same input always gives the same mask.

    Where two objects overlap, each pixel goes to the object with the higher probability, and a note says so.

    Args:
        picture: The frame as displayed, RGB uint8 [height, width, 3].
        shapes: One shape per object, in pixels of the picture.

    Raises:
        UsageError: An object is marked twice, or several frames are marked.
        PromptError: A shape lies outside the picture, or no object is found at it.
    """
    check_shapes(shapes)
    notes: list[str] = []
    canvas = _Canvas(picture.shape[0], picture.shape[1])
    for shape in shapes:
        if shape.absent:
            continue
        if shape.rle is not None:
            notes += canvas.add(shape.object, *_given(shape.object, shape.rle, picture))
            continue
        box, points = _in_picture(shape, picture, notes)
        found = _ellipse(box) if box and min(box[2:]) < _TINY and not points else cut_out(picture, box, points)
        mask = _cleaned(found.probability > 0.5, _in_window(points, found))
        notes += _notes_on(shape, box, found, int(mask.sum()))
        notes += canvas.add(shape.object, found, mask)
    canvas.check(shapes)
    return MadeMask(canvas.labels, tuple(notes))


class _Canvas:
    """The mask while objects are added to it."""

    def __init__(self, height: int, width: int) -> None:
        self.labels: UInt8Array = np.zeros((height, width), np.uint8)
        self._highest = np.zeros((height, width), np.float32)

    def add(self, number: int, found: CutOut, mask: BoolArray) -> list[str]:
        """Add an object whose window has this mask; return notes on overlaps."""
        height, width = mask.shape
        window = np.s_[found.top : found.top + height, found.left : found.left + width]
        labels, highest = self.labels[window], self._highest[window]
        # Holes that were filled have a low probability; in the mask, no pixel counts less than its edge.
        probability = np.maximum(found.probability, np.float32(0.5))
        counts = np.bincount(labels[mask], minlength=256)
        wins = mask & (probability > highest)
        labels[wins], highest[wins] = number, probability[wins]
        return [
            f"objects {other} and {number} overlap in {counts[other]:,} pixels; each of them went to the object "
            "that it fits better"
            for other in np.flatnonzero(counts)
            if other
        ]

    def check(self, shapes: Sequence[ShapePrompt]) -> None:
        """Refuse a mask in which an object lost all its pixels to others."""
        for shape in shapes:
            if not shape.absent and not (self.labels == shape.object).any():
                raise PromptError(
                    f"object {shape.object} lies where other objects are and keeps no pixel; move its box, or mark it "
                    "with points"
                )


def _given(number: int, rle: Rle, picture: UInt8Array) -> tuple[CutOut, BoolArray]:
    """Return a given mask as an object that was found, sure of each of its pixels.

    Raises:
        PromptError: It has another size than the picture, marks no pixel, or is no run-length encoding.
    """
    height, width = picture.shape[:2]
    if rle.size != (height, width):
        raise PromptError(
            f"object {number}: the mask (rle) has the size {list(rle.size)}; it must be that of the picture, "
            f"{[height, width]}"
        )
    mask = rle.mask()
    if mask is None:
        raise PromptError(f"object {number}: the counts of the mask (rle) do not cover {height} times {width} pixels")
    if not mask.any():
        raise PromptError(f"object {number}: the mask (rle) marks no pixel; mark an object that is not there as absent")
    return CutOut(0, 0, mask.astype(np.float32), 0.0), mask


def _in_picture(shape: ShapePrompt, picture: UInt8Array, notes: list[str]) -> tuple[Box | None, tuple[Point, ...]]:
    """Return a shape's box, cut to the picture, and its points."""
    height, width = picture.shape[:2]
    for x, y, _ in shape.points:
        if not (0 <= x < width and 0 <= y < height):
            raise PromptError(
                f"object {shape.object}: the point {x:g},{y:g} is outside the picture of {width}x{height}"
            )
    if shape.box is None:
        return None, shape.points
    x, y, w, h = shape.box
    left, top, right, bottom = max(0.0, x), max(0.0, y), min(float(width), x + w), min(float(height), y + h)
    if right - left < 1 or bottom - top < 1:
        raise PromptError(
            f"object {shape.object}: the box {x:g},{y:g},{w:g},{h:g} covers no pixel of the picture of {width}x{height}"
        )
    if (left, top, right, bottom) != (x, y, x + w, y + h):
        notes.append(f"object {shape.object}: its box reaches beyond the picture of {width}x{height} and was cut to it")
    return (left, top, right - left, bottom - top), shape.points


def _ellipse(box: Box) -> CutOut:
    """Return the ellipse in a box that is too small for an outline."""
    left, top = int(box[0]), int(box[1])
    width, height = int(np.ceil(box[0] + box[2])) - left, int(np.ceil(box[1] + box[3])) - top
    x, y = np.meshgrid(np.arange(width) + 0.5 + left, np.arange(height) + 0.5 + top)
    distance = np.hypot((x - box[0]) / box[2] * 2 - 1, (y - box[1]) / box[3] * 2 - 1)
    return CutOut(left, top, (distance <= max(1, distance.min())).astype(np.float32), 1.0)


def _in_window(points: tuple[Point, ...], found: CutOut) -> list[tuple[int, int, int]]:
    """Return row, column and kind of each point that lies in the window."""
    height, width = found.probability.shape
    moved = [(int(y) - found.top, int(x) - found.left, kind) for x, y, kind in points]
    return [(row, column, kind) for row, column, kind in moved if 0 <= row < height and 0 <= column < width]


def _cleaned(mask: BoolArray, points: list[tuple[int, int, int]]) -> BoolArray:
    """Drop small parts without a point on the object, and fill small holes without a point beside it."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count == 1:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = np.concatenate(([False], areas >= _MIN_PART * areas.max()))
    keep[[parts[row, column] for row, column, kind in points if kind and mask[row, column]]] = True
    mask = keep[parts]
    count, holes, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    fill = stats[:, cv2.CC_STAT_AREA] <= _MAX_HOLE * mask.sum()
    fill[0] = False  # component 0 is the mask itself
    border = np.concatenate((holes[0], holes[-1], holes[:, 0], holes[:, -1]))
    fill[border] = False
    fill[[holes[row, column] for row, column, kind in points if not kind]] = False
    return np.asarray(mask | fill[holes])


def _notes_on(shape: ShapePrompt, box: Box | None, found: CutOut, area: int) -> list[str]:
    """Return what the user should know about an object.

    Raises:
        PromptError: It was not found.
    """
    name = f"object {shape.object}"
    if not area or (box and area < _MIN_SHARE * box[2] * box[3]):
        place = "at its points" if box is None else "in its box {:g},{:g},{:g},{:g}".format(*box)
        raise PromptError(f"{name}: nothing was found {place}; move it, add points on the object, or draw a mask")
    if box is None:
        return [f"{name} was made from points alone; a box gives a better outline"]
    if area > _FULL_SHARE * box[2] * box[3]:
        return [f"{name} fills its box, in which no outline was found; check the mask, or mark points beside it"]
    if found.color_overlap >= _ALIKE:
        return [f"{name} shares many colors with its surroundings; check its outline"]
    return []
