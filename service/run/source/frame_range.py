"""Check that the frames which options name are frames of the video, and say what the run found out at its end."""

from __future__ import annotations

from codec.errors import BrokenStreamError
from codec.types import VideoInfo
from service.run.bitstream_stats import BitstreamStats
from service.run.options import JobOptions
from service.run.source.video_input import Video, is_file, picture_count
from service.run.source.video_length import measure_length
from vos.errors import OptionError

_TOLERANCE_SECONDS = 0.5
_TOLERANCE_SHARE = 0.1


def check_frames(video: Video, options: JobOptions, last_prompt: int = 0) -> None:
    """Refuse options that name a frame outside the video before the run begins; a run would notice at its end.

    Args:
        video: The video.
        options: The options.
        last_prompt: The last frame that a prompt marks.

    Raises:
        OptionError: An option names a frame outside the video.
        SourceError: This is not a video.
    """
    first = max(options.first_frame, options.prompt_frame, last_prompt)
    if not first:
        return
    frames = _exact_count(video)
    if frames is not None and first >= frames:
        is_prompt = first in (options.prompt_frame, last_prompt)
        name = "the prompt frame" if is_prompt else "start"  # as the segmenter says it at the end
        raise OptionError(f"{name} is {first}; the video has {frames} frames, 0 to {frames - 1}")


def _exact_count(video: Video) -> int | None:
    """Return the number of frames, None if only reading the whole video would tell."""
    if not is_file(video):
        return picture_count(video)
    try:
        length = measure_length(video)
    except BrokenStreamError:  # the run yields the masks before the break, then the error
        return None
    return length.frames if length.exact else None


def final_notes(options: JobOptions, info: VideoInfo, read: BitstreamStats) -> list[str]:
    """Return what a user should know about the length of a video that has been read.

    Args:
        options: The options.
        info: The video, as its headers describe it.
        read: What was read of it.
    """
    notes = []
    if info.lost_packets:
        notes.append(
            f"the video was cut between key frames: nothing can be decoded before packet {info.lost_packets}, counted "
            "from 0; frame 0 is the first picture that players show"
        )
    if options.end is not None and options.end <= read.frames:
        return notes
    if options.end is not None:
        notes.append(f"end is {options.end}; the video has {read.frames} frames, so the run ends with its last frame")
    stated, seconds = info.duration_seconds_from_header, read.seconds(info.average_rate)
    if stated is None or seconds is None:
        return notes
    if stated - seconds > max(_TOLERANCE_SECONDS, stated * _TOLERANCE_SHARE):
        notes.append(f"the video's header states {stated:.1f} seconds; its pictures end after {seconds:.1f}")
    return notes
