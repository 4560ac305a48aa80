"""Read the prompt of a video from a mask file or an array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.types import VideoInfo
from service.prompts.mask_file import open_mask
from service.prompts.modes import MaskMode
from service.prompts.objects import PromptObject, objects_line, objects_of, suspicious
from service.prompts.picture import picture_of_array
from service.prompts.placement import placement_of
from service.prompts.read_labels import read_labels
from vos.types import Prompt

Mask = Path | bytes | npt.NDArray[Any]
"""Path or bytes of a mask file, or an array as `service.prompts.picture.picture_of_array` takes it."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadPrompt:
    """A prompt, and what is said back about it.

    Attributes:
        prompt: Labels in display size and the index of their frame.
        objects: The objects, ascending by id.
        notes: What was decided while reading, in plain words.
    """

    prompt: Prompt
    objects: tuple[PromptObject, ...]
    notes: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The objects in one line for people."""
        return objects_line(self.objects, self.prompt.labels.size)


def read_prompt(
    mask: Mask, info: VideoInfo, index: int, mode: MaskMode = "auto", *, absent: tuple[int, ...] = ()
) -> ReadPrompt:
    """Read the prompt of a video.

    Args:
        mask: Mask file or array.
        info: The video.
        index: Presentation index of the prompt frame.
        mode: "auto", "ids", "colors" or "binary", see `docs/reference/masks.md`.
        absent: Ids of objects that are not in the frame.

    Raises:
        MaskFileError: The mask cannot be read, does not have a size of the video, or may mean several things.
        PromptError: The mask marks no object.
    """

    def check_size(size: tuple[int, int]) -> None:
        placement_of(size, info)

    picture = open_mask(mask, check_size) if isinstance(mask, Path | bytes) else picture_of_array(np.asarray(mask))
    height, width = picture.values.shape[:2]
    placement = placement_of((width, height), info)
    read = read_labels(picture, mode)
    labels = placement.place(read.ids, info)
    notes = read.notes
    if labels.shape != (height, width):
        notes += (
            f"the mask is {width}x{height} ({placement.reason}); it is placed in the video's "
            f"{info.display_width}x{info.display_height} pixels, and so are the masks of the result",
        )
    prompt = Prompt(labels, index, absent)
    objects = objects_of(labels, index, read.colors)
    return ReadPrompt(prompt, objects, notes + suspicious(labels, objects))
