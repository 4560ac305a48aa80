"""Makes masks from the prompts of uploaded videos. Runs in a sandbox, because it decodes the video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Base64Bytes, JsonValue

from codec.displayed_frame import DisplayedFrame, read_displayed_frame
from codec.random_access import list_timestamps, read_frame_at
from codec.reader import read_info
from codec.types import FrameType, UInt8Array
from service.problems import ProblemError
from service.prompts.made_mask import make_mask
from service.prompts.objects import PromptObject, objects_of
from service.prompts.shapes import ShapePrompt, Shapes, frames_of, prompt_frame_of
from service.prompts.stored_prompts import StoredPrompts, given_mask
from service.run.options import JobOptions
from service.sandbox.handles import Input, OutputFile, opened_input, opened_output
from service.sandbox.inspection import (
    UploadLimits,
    check_coded_size,
    check_objects,
    check_pixels,
    read_prompt,
    uploaded,
)
from service.writers.mask_line import frame_line
from service.writers.png import encode_mask
from vos.types import FrameMask, MaskSource


@dataclass(frozen=True, slots=True)
class MarkedUpload:
    """The mask of one frame of an upload.

    Attributes:
        png: The mask as an indexed PNG.
        values: The mask as JSON values: frame, time, width, height, objects with run-length encodings, notes.
    """

    png: Base64Bytes
    values: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class MarkedFrames:
    """What prompts on frames of an upload mark.

    Attributes:
        objects: The objects of each frame; an absent one has no area.
        notes: What the user should look at, in plain words.
    """

    objects: tuple[PromptObject, ...]
    notes: tuple[str, ...]


def mark_upload(video: Input, shapes: Shapes, limits: UploadLimits) -> MarkedUpload:
    """Make the mask of the frame that shapes mark, as `POST /v1/prompts` returns it.

    Raises:
        ProblemError: The video cannot be read up to the frame, a limit is exceeded, or no object is found.
    """
    frame, labels, notes = _marked(video, shapes, prompt_frame_of(shapes, None), limits)
    scores = {shape.object: 1.0 for shape in shapes}
    mask = FrameMask(frame.index, None, frame.time, FrameType.I, MaskSource.PROMPT, labels, scores)
    values = {
        "frame": frame.index,
        "time": frame.time,
        "width": labels.shape[1],
        "height": labels.shape[0],
        "objects": frame_line(mask)["objects"],
        "notes": list(notes),
    }
    return MarkedUpload(encode_mask(labels), values)


def write_mask(video: Input, mask: OutputFile, shapes: Shapes, index: int, limits: UploadLimits) -> tuple[str, ...]:
    """Write the mask of a frame as if it had been uploaded; return the notes on it.

    Raises:
        ProblemError: As for `mark_upload`.
    """
    _, labels, notes = _marked(video, shapes, index, limits)
    with opened_output(mask) as file:
        file.write(encode_mask(labels))
    return notes


def store_prompts(
    video: Input, prompts: OutputFile, shapes: Shapes, size: tuple[int, int], limits: UploadLimits
) -> MarkedFrames:
    """Write the prompts of a job with several of them.

    Args:
        video: The video.
        prompts: File to write.
        shapes: The prompts.
        size: Display size of the video, (width, height).
        limits: Limits of an upload.

    Raises:
        ProblemError: As for `mark_upload`.
    """
    new, marked = _encoded(video, shapes, size, limits)
    _write(StoredPrompts(new=new), prompts, limits)
    return marked


def store_correction(
    video: Input,
    prompts: OutputFile,
    shapes: Shapes,
    *,
    mask: Input | None,
    before: Input | None,
    options: JobOptions,
    size: tuple[int, int],
    limits: UploadLimits,
) -> MarkedFrames:
    """Write the prompts of a correction, and of all jobs before it.

    Args:
        video: The video.
        prompts: File to write.
        shapes: The prompts of the correction.
        mask: The mask of the job that is corrected, if it is the only prompt.
        before: The stored prompts of that job, if it has several.
        options: Options of the job.
        size: Display size of the video, (width, height).
        limits: Limits of an upload.

    Raises:
        ProblemError: As for `mark_upload`.
    """
    new, marked = _encoded(video, shapes, size, limits)
    if before is not None:
        with opened_input(before) as file:
            earlier = StoredPrompts.model_validate_json(file.read()).merged
    else:
        assert mask is not None
        with uploaded(video) as file:
            info = read_info(file)
        read = read_prompt(mask, info, limits, options)
        ids = read.prompt.object_ids
        earlier = tuple(given_mask(read.prompt.labels == i, options.prompt_frame, i) for i in ids)
    _write(StoredPrompts(new=new, earlier=earlier), prompts, limits)
    return marked


def _encoded(video: Input, shapes: Shapes, size: tuple[int, int], limits: UploadLimits) -> tuple[Shapes, MarkedFrames]:
    """Return the shapes with masks in place of boxes and points, and what they mark."""
    new: list[ShapePrompt] = []
    objects: list[PromptObject] = []
    notes: list[str] = []
    blank = np.zeros((size[1], size[0], 3), np.uint8)
    timestamps = None
    if any(map(_needs_picture, shapes)):
        with uploaded(video) as file:
            timestamps = list_timestamps(file)
    for index, marked in frames_of(shapes).items():
        check_objects("the prompt", len(marked), limits)
        with uploaded(video) as file:
            picture = read_frame_at(file, index, timestamps).rgb if any(map(_needs_picture, marked)) else blank
            made = make_mask(picture, marked)
        found = {item.object: item for item in objects_of(made.labels, index, {})}
        for shape in marked:
            absent = PromptObject(shape.object, index, 0, (0, 0, 0, 0))
            objects.append(found.get(shape.object, absent))
            new.append(
                ShapePrompt(frame=index, object=shape.object, absent=True)
                if shape.absent
                else given_mask(made.labels == shape.object, index, shape.object)
            )
        notes += made.notes
    return tuple(new), MarkedFrames(tuple(objects), tuple(notes))


def _needs_picture(shape: ShapePrompt) -> bool:
    return shape.rle is None and not shape.absent


def _write(stored: StoredPrompts, prompts: OutputFile, limits: UploadLimits) -> None:
    check_objects("the prompt", len({shape.object for shape in stored.merged}), limits)
    marked = {shape.object for shape in stored.merged if not shape.absent}
    for shape in stored.merged:
        if shape.object not in marked:
            raise ProblemError(
                "mask-unusable", f"object {shape.object} is absent in frame {shape.frame}, but no prompt marks it"
            )
    with opened_output(prompts) as file:
        file.write(stored.to_json())


def _marked(
    video: Input, shapes: Shapes, index: int, limits: UploadLimits
) -> tuple[DisplayedFrame, UInt8Array, tuple[str, ...]]:
    check_objects("the prompt", len(shapes), limits)
    with uploaded(video) as file:
        check_coded_size(file, limits)
        frame = read_displayed_frame(file, index)
        check_pixels(frame.rgb.shape[1], frame.rgb.shape[0], limits)
        made = make_mask(frame.rgb, shapes)
    return frame, made.labels, made.notes
