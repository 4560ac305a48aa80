"""At which size a video is analyzed: as asked, or large enough for the smallest object of the prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence

from codec.decode.scaler import analysis_size
from codec.types import VideoInfo
from service.prompts.objects import PromptObject
from service.run.options import DEFAULT_ANALYSIS_SIDE, MAX_ANALYSIS_SIDE, RunOptions

WANTED_OBJECT_SIZE = 24
"""Size in analysis pixels that `auto` keeps of the smallest object: six cells of the stride-4 grid."""
_LOSABLE_OBJECT_SIZE = 12
"""Size in analysis pixels below which objects are often lost."""


def sufficient_side(objects: Sequence[PromptObject], info: VideoInfo) -> int:
    """Return the shorter side that gives the smallest object `WANTED_OBJECT_SIZE`, from the default to the largest.

    Above the default it is at most the video's own, since frames are never enlarged.
    """
    own = min(info.coded_width, info.coded_height)
    side = math.ceil(own * WANTED_OBJECT_SIZE / math.sqrt(_smallest(objects).area))
    return max(DEFAULT_ANALYSIS_SIDE, min(side, own, MAX_ANALYSIS_SIDE))


def size_notes(options: RunOptions, side: int, objects: Sequence[PromptObject], info: VideoInfo) -> list[str]:
    """Say why `auto` analyzes more than usual, which option changes nothing, and which object is small.

    Args:
        options: The options.
        side: Shorter side that was asked for, by the options or by `auto`.
        objects: Objects of the prompt.
        info: The video as it was opened.
    """
    coded, size = (info.coded_width, info.coded_height), (info.analysis_width, info.analysis_height)
    smallest = _smallest(objects)
    pixels = math.sqrt(smallest.area) * min(size) / min(coded)
    about = f"object {smallest.object}, the smallest, is about {pixels:.0f} pixels large there"
    notes = []
    is_auto = options.analysis_side == "auto"
    if is_auto and side > DEFAULT_ANALYSIS_SIDE:
        notes.append(
            f"frames are analyzed at {size[0]}x{size[1]}; {about}. It would be smaller, and this faster, with "
            f"analysis_side {DEFAULT_ANALYSIS_SIDE}"
        )
    elif not is_auto and side > min(coded):
        notes.append(f"analysis_side is {side}; frames are never enlarged, so they are analyzed at {size[0]}x{size[1]}")
    if options.max_side is not None and size == analysis_size(*coded, side, None):
        notes.append(
            f"max_side is {options.max_side} and changes nothing: frames are analyzed at {size[0]}x{size[1]} anyway"
        )
    if not is_auto and pixels < _LOSABLE_OBJECT_SIZE and size != coded:
        notes.append(f"frames are analyzed at {size[0]}x{size[1]}; {about} and may be lost: try analysis_side auto")
    return notes


def _smallest(objects: Sequence[PromptObject]) -> PromptObject:
    return min(objects, key=lambda item: item.area)
