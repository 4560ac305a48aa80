"""Object ids of a mask, and how colors become ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.types import UInt8Array
from service.errors import AmbiguousMaskError
from service.prompts.colors.background import background_of
from service.prompts.colors.exact import ColorClasses
from service.prompts.colors.names import Rgb, rgb_of
from service.writers.palette import PALETTE

VOID_COLOR = (224, 224, 192)
"""Color of PASCAL VOC's border between objects, which has index 255."""
_VOID = 255
_LARGEST_ID_BESIDE_VOID = 50


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Object ids of a mask.

    Attributes:
        ids: uint8 [height, width], 0 is the background.
        colors: Object id -> color (red, green, blue) in the picture; empty for an array.
        notes: What was decided, in plain words.
    """

    ids: UInt8Array
    colors: dict[int, Rgb]
    notes: tuple[str, ...] = ()


def with_colors(ids: UInt8Array, rgb: UInt8Array) -> Labels:
    """Labels with the color of each object's first pixel."""
    flat, colors = ids.ravel(), rgb.reshape(-1, 3)
    used = np.flatnonzero(np.bincount(flat))
    return Labels(ids, {int(i): rgb_of(colors[(flat == i).argmax()]) for i in used if i})


def numbered(classes: ColorClasses, notes: tuple[str, ...] = (), tolerance: int = 0) -> Labels:
    """Number the colors: by the DAVIS palette if all are in it, otherwise in ascending order of #rrggbb.

    Args:
        classes: The picture.
        notes: What was decided before.
        tolerance: Largest difference in any channel from a color of the palette.

    Raises:
        AmbiguousMaskError: The background is not plain, or there are too many colors.
    """
    background, why = background_of(classes)
    objects = np.flatnonzero(np.arange(len(classes.colors)) != background)
    if len(objects) > 255:
        raise AmbiguousMaskError(f"the mask has {len(objects)} colors; at most 255 objects are allowed")
    table = np.zeros(len(classes.colors), np.uint8)
    distance = np.abs(classes.colors[objects, None].astype(np.int16) - PALETTE).max(axis=2)
    indices = distance.argmin(axis=1)
    is_known = (distance.min(axis=1, initial=256) <= tolerance) & (indices > 0)
    is_davis = bool(is_known.all()) and len(np.unique(indices)) == len(indices)
    table[objects] = indices if is_davis else np.arange(1, len(objects) + 1)
    colors = {int(table[i]): rgb_of(classes.colors[i]) for i in objects}
    labels = Labels(table[classes.classes], colors, notes + why)
    return without_void(labels, None) if is_davis else labels


def without_void(labels: Labels, rgb: UInt8Array | None) -> Labels:
    """Make VOC's border background: 255 beside small ids only, and in VOC's color where there is a palette."""
    if _VOID not in labels.colors or (rgb is not None and labels.colors[_VOID] != VOID_COLOR):
        return labels
    others = [i for i in labels.colors if i != _VOID]
    if not others or max(others) > _LARGEST_ID_BESIDE_VOID:
        return labels
    is_void = labels.ids == _VOID
    note = f"255 beside smaller ids is VOC's border between objects ({is_void.sum():,} pixels); it is background here"
    colors = {i: color for i, color in labels.colors.items() if i != _VOID}
    return Labels(np.where(is_void, np.uint8(0), labels.ids), colors, (*labels.notes, note))
