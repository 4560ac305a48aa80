"""Open a video as if it ran backwards, for masks that are propagated to the frames before the prompt.

Codecs predict pictures from earlier ones, so a video decodes forwards only. It is decoded in passes: the last frames
first, from a key frame before them, in passes so short that their pictures fit into memory. Motion comes from a proxy,
as for codecs without vectors. Where the stream has B frames, the proxy has them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from codec.decode.decoder import PresentedPicture
from codec.decode.pictures import reordered_proxy_pictures
from codec.decode.scaler import Scaler, check_side_limits
from codec.decode.seeking import Timestamps
from codec.demux.source import VideoSource
from codec.random_access import read_range
from codec.reader import VideoReader, read_info
from codec.types import MotionSource, VideoInfo

_PASS_BYTES = 128 << 20
"""Size of the pictures of a pass."""
_LONGEST_PASS, _SHORTEST_PASS = 48, 4
"""Frames of a pass. Each pass decodes from a key frame, so a long group of pictures is decoded several times."""


def open_backwards(
    source: VideoSource,
    first: int,
    last: int = 0,
    *,
    timestamps: Timestamps | None,
    short_side: int = 480,
    max_side: int | None = None,
) -> VideoReader:
    """Open a video to read its frames backwards.

    Frames have the times, timestamps and types that `codec.open_video` gives them, but their `index` counts backwards:
    frame `first` has index 0, the one before it 1. A frame that is no reference refers to frames on both sides of it.
    It comes after these, as in the decode order of a video that runs forwards.

    Args:
        source: Path, bytes, or seekable binary file object. A file object stays open.
        first: Presentation index of the frame to begin with.
        last: Presentation index of the frame to end with, at most `first`.
        timestamps: From `codec.random_access.list_timestamps`; None decodes each pass from the start of the video.
        short_side: Limit for the shorter side of the analysis size in pixels. Videos are never scaled up.
        max_side: Limit for the longer side in pixels, None for no limit.

    Raises:
        SourceError: The source is not a readable video (see `codec.errors`).
        UnsupportedSizeError: The pictures are too large.
        ValueError: `short_side` or `max_side` is below 16.
    """
    check_side_limits(short_side, max_side)
    info = replace(read_info(source, short_side=short_side, max_side=max_side), motion_source=MotionSource.PROXY)
    scaler = Scaler((info.analysis_width, info.analysis_height))
    pictures = _pictures_backwards(source, first, last, timestamps, _pass_length(info))
    return VideoReader(info, reordered_proxy_pictures(pictures, scaler), scaler)


def _pass_length(info: VideoInfo) -> int:
    """Return how many frames to hold at once, given that a pixel takes about two bytes."""
    return max(_SHORTEST_PASS, min(_LONGEST_PASS, _PASS_BYTES // (2 * info.coded_width * info.coded_height)))


def _pictures_backwards(
    source: VideoSource, first: int, last: int, timestamps: Timestamps | None, length: int
) -> Iterator[PresentedPicture]:
    for stop in range(first + 1, last, -length):
        pictures = read_range(source, max(last, stop - length), stop, timestamps)
        while pictures:
            picture = pictures.pop()
            yield replace(picture, index=first - picture.index)
