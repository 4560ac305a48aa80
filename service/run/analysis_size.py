"""At which size a video is analyzed: as asked, or large enough for the smallest object of the prompt."""

from __future__ import annotations

import math

import numpy as np

from codec.decode.scaler import analysis_size
from codec.types import UInt8Array, VideoInfo
from service.run.options import LARGEST_ANALYSIS_SIDE, RunOptions

DEFAULT_SIDE = 480
"""Shorter side in pixels at which videos are analyzed."""
WANTED_OBJECT_SIZE = 24
"""Size in analysis pixels that `auto` keeps of the smallest object: six cells of the stride-4 grid."""
_LOSABLE_OBJECT_SIZE = 12
"""Size in analysis pixels below which objects are often lost."""


def requested_side(options: RunOptions) -> int:
    """Return the shorter side that the options ask for, before the prompt is known."""
    return options.analysis_side if isinstance(options.analysis_side, int) else DEFAULT_SIDE


def sufficient_side(labels: UInt8Array, info: VideoInfo) -> int:
    """Return the shorter side that gives the smallest object `WANTED_OBJECT_SIZE`, from the default to the largest."""
    scale = WANTED_OBJECT_SIZE / _smallest(labels)[1]
    side = math.ceil(scale * min(info.coded_width, info.coded_height))
    return min(max(side, DEFAULT_SIDE), LARGEST_ANALYSIS_SIDE)


def size_notes(options: RunOptions, labels: UInt8Array, info: VideoInfo) -> list[str]:
    """Say what `auto` chose, which option changes nothing, and which object is small.

    Args:
        options: The options.
        labels: The prompt's labels, uint8 [height, width] in display size.
        info: The video as it was opened.
    """
    coded, size = (info.coded_width, info.coded_height), (info.analysis_width, info.analysis_height)
    object_id, pixels = _smallest(labels)
    small = pixels * min(size) / min(coded)
    about = f"object {object_id}, the smallest, is about {small:.0f} pixels large there"
    notes = []
    if options.analysis_side == "auto":
        notes.append(f"analysis_side auto: frames are analyzed at {size[0]}x{size[1]}; {about}")
    elif isinstance(options.analysis_side, int) and options.analysis_side > min(coded):
        notes.append(
            f"analysis_side is {options.analysis_side}; frames are never enlarged, so they are analyzed at "
            f"{size[0]}x{size[1]}"
        )
    if options.max_side is not None and size == analysis_size(*coded, _side(options, labels, info), None):
        notes.append(
            f"max_side is {options.max_side} and changes nothing: frames are analyzed at {size[0]}x{size[1]} anyway"
        )
    if options.analysis_side is None and small < _LOSABLE_OBJECT_SIZE and size != coded:
        notes.append(f"frames are analyzed at {size[0]}x{size[1]}; {about} and may be lost: try analysis_side auto")
    return notes


def _side(options: RunOptions, labels: UInt8Array, info: VideoInfo) -> int:
    return sufficient_side(labels, info) if options.analysis_side == "auto" else requested_side(options)


def _smallest(labels: UInt8Array) -> tuple[int, float]:
    """Return the id of the smallest object, and the side of a square of its area in pixels."""
    areas = np.bincount(labels.ravel(), minlength=256)[1:]
    object_id = int(np.where(areas > 0, areas, np.iinfo(areas.dtype).max).argmin()) + 1
    return object_id, math.sqrt(float(areas[object_id - 1]))
