"""Read what a user gives as prompts: one mask, masks by frame, or boxes, points and masks of single objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from codec.decode.seeking import Timestamps
from codec.types import VideoInfo
from service.errors import TooManyObjectsError, UsageError
from service.prompts.made_mask import make_mask
from service.prompts.objects import PromptObject
from service.prompts.read_prompt import Mask, ReadPrompt, read_prompt
from service.prompts.shapes import Shapes, check_shapes, frames_of
from service.run.options import RunOptions, on_marked_frame
from service.run.source.video_input import Video, read_frame
from vos.errors import OptionError, PromptError
from vos.types import MaskSource, Prompt, object_ids_of

Given: TypeAlias = Mask | Shapes | Mapping[int, Mask | Shapes]
"""Mask of the prompt frame; boxes, points and masks of objects; or either by presentation index."""


def given_by_frame(given: Given, options: RunOptions) -> tuple[dict[int, Mask | Shapes], RunOptions]:
    """Return prompts by presentation index, ascending, and the options with the first of them as prompt frame.

    Raises:
        UsageError: Prompts and options name different frames, or an object is marked twice in a frame.
        OptionError: An index is negative.
    """
    if isinstance(given, tuple):
        options = on_marked_frame(options, given)
        frames = dict(frames_of(given, options.prompt_frame))
        for shapes in frames.values():
            check_shapes(shapes)
        return dict(frames), options
    if not isinstance(given, Mapping):
        return {options.prompt_frame: given}, options
    if not given:
        raise UsageError("there are no prompts; mark the objects in at least one frame")
    chosen = options.prompt_frame if "prompt_frame" in options.model_fields_set else None
    for index, part in given.items():
        if index < 0:
            raise OptionError(f"prompt frame is {index}; it must be 0 or more")
        if isinstance(part, tuple) and (other := [s.frame for s in part if s.frame not in (None, index)]):
            raise UsageError(f"the prompt of frame {index} marks frame {other[0]}")
        names = {s.object: s.label for s in part if s.label is not None} if isinstance(part, tuple) else {}
        if names:
            options = options.model_copy(update={"labels": names | (options.labels or {})})
    first = min(given)
    if chosen is not None and chosen != first:
        raise UsageError(f"the first prompt is on frame {first}, but prompt_frame is {chosen}")
    return {index: given[index] for index in sorted(given)}, options.model_copy(update={"prompt_frame": first})


@dataclass(frozen=True, slots=True, eq=False)
class MadePrompt:
    """The mask of a prompt frame before it is read.

    Attributes:
        mask: The mask as it was given, or as it was made from shapes.
        is_made: Whether it was made, so that its values are object ids.
        absent: Ids of objects that are not in the frame.
        notes: What the user should know, in plain words.
    """

    mask: Mask
    is_made: bool = False
    absent: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def make_masks(
    video: Video, given: Mapping[int, Mask | Shapes], timestamps: Timestamps | None
) -> dict[int, MadePrompt]:
    """Make the masks of the prompts that are shapes.

    Raises:
        CodecError: A marked frame cannot be read.
        PromptError: No object is found where a shape is.
    """
    made: dict[int, MadePrompt] = {}
    for index, part in given.items():
        if not isinstance(part, tuple):
            made[index] = MadePrompt(part)
            continue
        found = make_mask(read_frame(video, index, timestamps).rgb, part)
        absent = tuple(sorted(shape.object for shape in part if shape.absent))
        made[index] = MadePrompt(found.labels, True, absent, found.notes)
    return made


def read_prompts(
    made: Mapping[int, MadePrompt], info: VideoInfo, options: RunOptions, earlier: Iterable[ReadPrompt] | None = None
) -> tuple[ReadPrompt, ...]:
    """Read the prompts of a video, in presentation order.

    Args:
        made: The masks.
        info: The video.
        options: How masks are read.
        earlier: Prompts that these ones correct; None if they are the first ones.

    Raises:
        MaskFileError: A mask cannot be read, does not have a size of the video, or may mean several things.
        PromptError: A mask marks no object.
    """
    source = MaskSource.PROMPT if earlier is None else MaskSource.CORRECTED
    known = list(earlier or ())
    prompts: list[ReadPrompt] = []
    for index, part in made.items():
        mode = "ids" if part.is_made else options.mask_mode
        read = read_prompt(part.mask, info, index, mode, absent=part.absent)
        read = read if part.is_made else _with_known_colors(read, [*known, *prompts])
        notes = (*part.notes, *read.notes)
        if len(made) > 1:
            notes = tuple(f"prompt of frame {index}: {note}" for note in notes)
        prompts.append(replace(read, prompt=replace(read.prompt, source=source), notes=notes))
    object_ids_of(read.prompt for read in (*known, *prompts))  # refuses an object that is only absent
    if not any(read.objects for read in (*known, *prompts)):
        raise PromptError("the prompt marks no object; mark at least one")
    return tuple(prompts)


def _with_known_colors(read: ReadPrompt, earlier: Iterable[ReadPrompt]) -> ReadPrompt:
    """Give objects the ids that their colors have in earlier prompts, if the mask's own ids contradict these.

    Colors of a picture are numbered in each picture anew; indices of a palette are the same in all of them.
    """
    known = {item.object: item.color for prompt in earlier for item in prompt.objects if item.color is not None}
    if not any(item.color is not None and known.get(item.object, item.color) != item.color for item in read.objects):
        return read
    ids = {color: number for number, color in known.items()}
    table = np.arange(256, dtype=np.uint8)
    for item in read.objects:
        if item.color not in ids:
            ids[item.color or ""] = max(ids.values()) + 1
        if ids[item.color or ""] > 255:
            raise UsageError("the prompts mark more than 255 objects")
        table[item.object] = ids[item.color or ""]
    objects = tuple(sorted((replace(o, object=int(table[o.object])) for o in read.objects), key=lambda o: o.object))
    return replace(read, prompt=replace(read.prompt, labels=table[read.prompt.labels]), objects=objects)


def marked_objects(prompts: Iterable[ReadPrompt]) -> tuple[PromptObject, ...]:
    """Return the objects of prompts, each as in the first prompt that marks it, ascending by id."""
    found: dict[int, PromptObject] = {}
    for prompt in prompts:
        for item in prompt.objects:
            found.setdefault(item.object, item)
    return tuple(found[number] for number in sorted(found))


def check_objects(count: int, allowed: int) -> None:
    """Check the number of objects of all prompts.

    Raises:
        TooManyObjectsError: There are more than the setting `max_objects` allows.
    """
    if count > allowed:
        raise TooManyObjectsError(
            f"the mask marks {count} objects; allowed: {allowed}, the setting KEYMASK_MAX_OBJECTS (at most 255); time "
            "and memory grow with the number of objects"
        )


def joined_prompts(earlier: Iterable[Prompt], new: Iterable[Prompt]) -> dict[int, Prompt]:
    """Return prompts by presentation index. Of a frame that both have, what the new one gives replaces the earlier."""
    joined = {prompt.index: prompt for prompt in earlier}
    for prompt in new:
        before = joined.get(prompt.index)
        joined[prompt.index] = prompt if before is None else _on_top(prompt, before)
    return joined


def _on_top(new: Prompt, earlier: Prompt) -> Prompt:
    """Return a prompt with what a new one gives, and else what an earlier one of the same frame gives."""
    replaced = np.isin(earlier.labels, new.given_ids) | (new.labels > 0)
    labels = np.where(replaced, new.labels, earlier.labels)
    absent = {*new.absent, *earlier.absent} - {int(number) for number in np.unique(labels)}
    return replace(new, labels=labels, absent=tuple(sorted(absent)))


def with_known_absences(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Return prompts without the absences of objects that none of them marks, as where a part of them is used."""
    chosen = list(prompts)
    marked = {number for prompt in chosen for number in prompt.object_ids}
    return [replace(p, absent=tuple(i for i in p.absent if i in marked)) for p in chosen if set(p.given_ids) & marked]
