"""Open what a user gives as a video: a file that FFmpeg reads, a folder or list of pictures, or an array."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, TypeGuard, cast

import numpy as np

from codec.backwards import open_backwards
from codec.decode.seeking import Timestamps
from codec.demux.picture_files import PictureFiles, find_pictures, spans
from codec.demux.source import VideoSource
from codec.displayed_frame import DisplayedFrame, Pictures, no_such_frame, pick_picture
from codec.errors import MotionError
from codec.picture_sequence import open_pictures
from codec.random_access import list_timestamps, read_frame_at
from codec.reader import VideoReader, open_video
from codec.types import UInt8Array

Video: TypeAlias = VideoSource | UInt8Array | list[Path] | tuple[Path, ...]
"""Path of a video or of a folder of pictures, bytes, binary file, RGB pictures uint8 [T, H, W, 3], or picture files."""


def open_input(
    video: Video,
    *,
    short_side: int = 480,
    max_side: int | None = None,
    motion: str = "auto",
    first: int = 0,
    timestamps: Timestamps | None = None,
) -> tuple[VideoReader, list[str]]:
    """Open a video.

    Args:
        video: The video.
        short_side: Limit for the shorter side of the analysis size in pixels.
        max_side: Limit for the longer side in pixels, None for no limit.
        motion: Where motion comes from, see `codec.reader.open_video`.
        first: Presentation index of the first frame. It has no motion.
        timestamps: From `timestamps_of`, for `first`.

    Returns:
        The reader, and notes for the user, such as on missing pictures.

    Raises:
        CodecError: The video or its first picture cannot be read, or it has no motion of the kind asked for.
    """
    pictures = _series(video)
    if pictures is None:
        source = cast(VideoSource, video)
        return (
            open_video(
                source,
                short_side=short_side,
                max_side=max_side,
                motion=motion,
                first=first,
                skip_earlier=True,
                timestamps=timestamps,
            ),
            [],
        )
    if motion == "bitstream":
        raise MotionError("motion is 'bitstream', but pictures have no bitstream; allowed here: auto, proxy")
    part = _from(pictures, first) if first else pictures
    if isinstance(pictures, PictureFiles):
        notes = [_gaps(pictures)] if pictures.missing else []
        return open_pictures(part, codec=pictures.codec, short_side=short_side, max_side=max_side, first=first), notes
    return open_pictures(part, short_side=short_side, max_side=max_side, first=first), []


def open_backwards_input(
    video: Video, first: int, last: int, *, timestamps: Timestamps | None, short_side: int, max_side: int | None
) -> VideoReader:
    """Open a video to read its frames from `first` back to `last`; their `index` counts from 0 in this order.

    Raises:
        CodecError: The video cannot be read.
    """
    pictures = _series(video)
    if pictures is None:
        return open_backwards(
            cast(VideoSource, video), first, last, timestamps=timestamps, short_side=short_side, max_side=max_side
        )
    if first >= len(pictures):
        raise no_such_frame(first, len(pictures))
    part = (pictures[i] for i in range(first, last - 1, -1))
    codec = pictures.codec if isinstance(pictures, PictureFiles) else "rawvideo"
    return open_pictures(part, codec=codec, short_side=short_side, max_side=max_side, first=first, backwards=True)


def timestamps_of(video: Video) -> Timestamps | None:
    """Return the timestamps of all frames of a file; None if only decoding tells, and for pictures, which need none."""
    return list_timestamps(video) if is_file(video) else None


def _from(pictures: Pictures, first: int) -> Iterator[UInt8Array]:
    return (pictures[i] for i in range(first, len(pictures)))


def read_frame(video: Video, index: int, timestamps: Timestamps | None = None) -> DisplayedFrame:
    """Read one frame of a video, by its position in presentation order, as it is displayed.

    Args:
        video: The video.
        index: Position in presentation order.
        timestamps: From `timestamps_of`; without them, the video is decoded up to the frame.

    Raises:
        NoSuchFrameError: The video has fewer frames.
        CodecError: The video cannot be read up to this frame.
    """
    pictures = _series(video)
    if pictures is None:
        return read_frame_at(cast(VideoSource, video), index, timestamps)
    return pick_picture(pictures, index)


def picture_count(video: Video) -> int | None:
    """Return the number of pictures of a series; None for a video file, which has to be read to count them."""
    pictures = _series(video)
    return None if pictures is None else len(pictures)


def is_file(video: Video) -> TypeGuard[VideoSource]:
    """Whether the video is a file, not a series of pictures."""
    return not isinstance(video, np.ndarray | list | tuple) and not is_folder(video)


def is_folder(video: Video) -> TypeGuard[str | os.PathLike[str]]:
    """Whether the video is a folder of pictures."""
    try:
        return isinstance(video, str | os.PathLike) and Path(video).is_dir()
    except (OSError, ValueError):  # not a path that can exist; opening it as a file says why
        return False


def _series(video: Video) -> PictureFiles | UInt8Array | None:
    """Return the pictures of a series; None for a video."""
    if is_folder(video):
        return find_pictures(Path(video))
    if isinstance(video, list | tuple):
        return PictureFiles(tuple(map(Path, video)))
    return video if isinstance(video, np.ndarray) else None


def _gaps(pictures: PictureFiles) -> str:
    return (
        f"{pictures.files[0].parent} has no picture {spans(pictures.missing)} ({len(pictures.missing)} missing); "
        f"masks are numbered by position, 0 to {len(pictures) - 1}"
    )
