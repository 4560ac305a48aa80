"""Inspects uploads before a job is accepted. Runs in a sandbox (`service.sandbox.pool`), because files may be hostile.

The public functions return plain records, which cross processes as JSON, or raise `ProblemError`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO, cast

from codec.demux.source import VideoFile
from codec.reader import read_info
from codec.types import VideoInfo
from service.errors import MaskSizeError, UsageError, error_mapping, message_of
from service.jobs.types import JobVideo
from service.problems import ProblemError
from service.prompts.objects import PromptObject
from service.prompts.placement import placements
from service.prompts.read_prompt import ReadPrompt
from service.prompts.read_prompt import read_prompt as read_prompt_of
from service.run.options import JobOptions
from service.run.per_object import check_labels
from service.run.source.video_length import VideoLength, measure_length
from service.sandbox.handles import Input, opened_input
from vos.keyframes.policy import parse_policy
from vos.types import Prompt

_NAME = "'upload'"
"""What messages of the reader call the video."""


@dataclass(frozen=True, slots=True)
class InspectedJob:
    """What the uploads of a job hold.

    Attributes:
        video: Properties of the video.
        prompt: Objects of the mask.
        notes: What the client should know, in plain words.
    """

    video: JobVideo
    prompt: tuple[PromptObject, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Limits of an upload.

    Attributes:
        pixels: Largest number of pixels of a picture.
        frames: Largest number of frames of a video.
        seconds: Longest duration of a video.
        objects: Largest number of objects in a mask.
    """

    pixels: int
    frames: int
    seconds: float
    objects: int


class _Upload:
    """A file with a name that can appear in error messages to the client."""

    name = _NAME.strip("'")

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


@contextmanager
def uploaded(video: Input) -> Iterator[BinaryIO]:
    """Prepare a video for the reader; turn errors into problems without a path."""
    try:
        with opened_input(video) as file:
            _check_not_empty(file)
            yield cast(BinaryIO, _Upload(file))
    except ProblemError:
        raise
    except Exception as error:
        raise _problem(error) from None


def _check_not_empty(file: BinaryIO) -> None:
    if not file.seek(0, os.SEEK_END):
        raise ProblemError("video-unreadable", "the video is empty: 0 bytes")


def _problem(error: Exception) -> ProblemError:
    mapping = error_mapping(error)
    if not mapping.expected or isinstance(error, OSError):
        raise error
    return ProblemError(mapping.problem, message_of(error).replace(_NAME, "the video"))


def inspect_job(
    video: Input, mask: Input, options: JobOptions, limits: UploadLimits, later: tuple[int, ...] = ()
) -> InspectedJob:
    """Check everything that can be checked without running a network.

    Args:
        video: The video.
        mask: The mask of the first prompt frame.
        options: Options of the job.
        limits: Limits of an upload.
        later: Ids of objects that prompts on later frames mark.

    Raises:
        ProblemError: The video, the mask or the options are unusable or exceed a limit.
    """
    info, length = inspect_video(video, limits)
    read = read_prompt(mask, info, limits, options)
    _check_options(options, read.prompt, later, length.frames if length.exact else None)
    return InspectedJob(_job_video(info, length), read.objects, read.notes)


def describe_video(video: Input, limits: UploadLimits) -> JobVideo:
    """Return the properties of a video as a job of it would have them.

    Raises:
        ProblemError: As for `inspect_video`.
    """
    return _job_video(*inspect_video(video, limits))


def _job_video(info: VideoInfo, length: VideoLength) -> JobVideo:
    rate = info.average_rate or (length.frames / length.seconds if length.frames and length.seconds else None)
    return JobVideo(
        codec=info.codec,
        width=info.display_width,
        height=info.display_height,
        fps=round(float(rate), 6) if rate else None,
        frames=length.frames,
        duration=None if length.seconds is None else round(length.seconds, 6),
        rotation=info.rotation,
    )


def inspect_video(video: Input, limits: UploadLimits) -> tuple[VideoInfo, VideoLength]:
    """Read the headers, decode the first picture and measure the length.

    Raises:
        ProblemError: The video cannot be read, is cut off or exceeds a limit.
    """
    with uploaded(video) as file:
        check_coded_size(file, limits)
        info = read_info(file)  # first, because only a decoder knows why it cannot decode
        check_pixels(info.coded_width, info.coded_height, limits)
        length = measure_length(file, partial(_check_length, limits=limits))
    return info, length


def read_prompt(mask: Input, info: VideoInfo, limits: UploadLimits, options: JobOptions) -> ReadPrompt:
    """Read and check the mask of the prompt frame.

    Raises:
        ProblemError: The mask is not a picture, has no size of the video, may mean several things, is empty or has too
            many objects.
    """
    try:
        with opened_input(mask) as file:
            read = read_prompt_of(file.read(), info, options.prompt_frame, options.mask_mode)
    except Exception as error:
        problem = _problem(error)
        raise ProblemError(problem.kind, problem.detail, **_sizes(error, info)) from None
    check_objects("the mask", len(read.objects), limits)
    return read


def check_objects(name: str, count: int, limits: UploadLimits) -> None:
    """Refuse a mask or a prompt that marks more objects than allowed."""
    if count > limits.objects:
        raise ProblemError(
            "too-many-objects", f"{name} marks {count} objects; allowed: {limits.objects}", limit=limits.objects
        )


def _sizes(error: Exception, info: VideoInfo) -> dict[str, Any]:
    """Members of a problem that is about the size of the mask."""
    if not isinstance(error, MaskSizeError):
        return {}
    return {
        "mask": _size(error.width, error.height),
        "video": _size(info.display_width, info.display_height),
        "allowed": [_size(placement.width, placement.height) for placement in placements(info)],
    }


def _size(width: int, height: int) -> dict[str, int]:
    return {"width": width, "height": height}


def probe_upload(video: Input, limits: UploadLimits) -> dict[str, Any]:
    """Report what the bitstream of a video offers, as `keymask probe` does.

    Raises:
        ProblemError: The video cannot be read or exceeds a limit.
    """
    from vos.probe.probe import probe  # noqa: PLC0415 - imports numba, 120 MB that the API process does not need

    inspect_video(video, limits)
    with uploaded(video) as file:
        report = probe(file)
    error = None if report.error is None else report.error.replace(_NAME, "the video")
    return replace(report, error=error).as_json()


def check_coded_size(file: BinaryIO, limits: UploadLimits) -> None:
    """Refuse a video whose header states more pixels than allowed, before a picture is decoded."""
    with closing(VideoFile(file)) as opened:
        context = opened.stream.codec_context
        check_pixels(context.width, context.height, limits)


def check_pixels(width: int, height: int, limits: UploadLimits) -> None:
    """Refuse pictures with more pixels than allowed."""
    if width * height > limits.pixels:
        raise ProblemError(
            "too-many-pixels",
            f"the video has pictures of {width}x{height}, {width * height} pixels; allowed: {limits.pixels}",
            limit=limits.pixels,
        )


def _check_length(frames: int, seconds: float, limits: UploadLimits) -> None:
    if frames > limits.frames:
        raise ProblemError(
            "too-many-frames", f"the video has more than the {limits.frames} frames allowed", limit=limits.frames
        )
    if seconds > limits.seconds:
        raise ProblemError(
            "video-too-long", f"the video is longer than the {limits.seconds:g} seconds allowed", limit=limits.seconds
        )


def _check_options(options: JobOptions, prompt: Prompt, later: tuple[int, ...], frame_count: int | None) -> None:
    """Check the options against the frames of the video; if their number is unknown, the job checks later."""
    frames = sys.maxsize if frame_count is None else frame_count
    least, named = (
        (0, "0") if options.direction == "both" else (prompt.index, f"prompt_frame, which is {prompt.index},")
    )
    last = "the last frame" if frame_count is None else f"{frame_count - 1}, the last frame"
    checks: tuple[tuple[str, Callable[[], bool], str], ...] = (
        ("prompt_frame", lambda: prompt.index < frames, f"less than {frames}, the number of frames"),
        ("start", lambda: options.start is None or least <= options.start < frames, f"from {named} to {last}"),
        ("end", lambda: options.end is None or options.end > max(least, options.start or 0),
         f"more than start and prompt_frame, which are {options.start or prompt.index} and {prompt.index}"),
    )  # fmt: skip
    for name, is_valid, allowed in checks:
        if not is_valid():
            raise ProblemError(
                "invalid-options", f"{name} is {getattr(options, name)}; it must be {allowed}", option=name
            )
    try:
        check_labels(options.labels, (*prompt.object_ids, *later))
    except UsageError as error:
        raise ProblemError("invalid-options", message_of(error), option="labels") from None
    try:
        options.for_segmenter()
        parse_policy(options.keyframes, quality=options.quality, max_key_share=options.max_key_share)
    except Exception as error:
        raise _problem(error) from None
