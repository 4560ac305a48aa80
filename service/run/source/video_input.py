"""Open what a user gives as a video: a file that FFmpeg reads, a folder or list of pictures, or an array."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias, TypeGuard, cast

import numpy as np

from codec.demux.picture_files import PictureFiles, find_pictures, spans
from codec.demux.source import VideoSource
from codec.displayed_frame import DisplayedFrame, pick_picture, read_displayed_frame
from codec.errors import MotionError
from codec.picture_sequence import open_pictures
from codec.reader import VideoReader, open_video
from codec.types import UInt8Array

Video: TypeAlias = VideoSource | UInt8Array | list[Path] | tuple[Path, ...]
"""Path of a video or of a folder of pictures, bytes, binary file, RGB pictures uint8 [T, H, W, 3], or picture files."""


def open_input(
    video: Video, *, short_side: int = 480, max_side: int | None = None, motion: str = "auto"
) -> tuple[VideoReader, list[str]]:
    """Open a video.

    Returns:
        The reader, and notes for the user, such as on missing pictures.

    Raises:
        CodecError: The video or its first picture cannot be read, or it has no motion of the kind asked for.
    """
    pictures = _series(video)
    if pictures is None:
        return open_video(cast(VideoSource, video), short_side=short_side, max_side=max_side, motion=motion), []
    if motion == "bitstream":
        raise MotionError("motion is 'bitstream', but pictures have no bitstream; allowed here: auto, proxy")
    if isinstance(pictures, PictureFiles):
        notes = [_gaps(pictures)] if pictures.missing else []
        return open_pictures(pictures, codec=pictures.codec, short_side=short_side, max_side=max_side), notes
    return open_pictures(pictures, short_side=short_side, max_side=max_side), []


def read_frame(video: Video, index: int) -> DisplayedFrame:
    """Read one frame of a video, by its position in presentation order, as it is displayed.

    Raises:
        NoSuchFrameError: The video has fewer frames.
        CodecError: The video cannot be read up to this frame.
    """
    pictures = _series(video)
    if pictures is None:
        return read_displayed_frame(cast(VideoSource, video), index)
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
