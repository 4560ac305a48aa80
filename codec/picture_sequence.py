"""Open a sequence of pictures as a video whose motion comes from the proxy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from fractions import Fraction
from itertools import chain

import av
import numpy as np

from codec.decode.decoder import PresentedPicture
from codec.decode.pictures import proxy_pictures
from codec.decode.scaler import Scaler, analysis_size, check_side_limits
from codec.demux.source import check_size
from codec.errors import BrokenStreamError, UnreadableError
from codec.reader import VideoReader
from codec.types import MotionSource, UInt8Array, VideoInfo


def open_pictures(
    pictures: Iterable[UInt8Array],
    *,
    rate: Fraction = Fraction(24),
    codec: str = "rawvideo",
    short_side: int = 480,
    max_side: int | None = None,
    first: int = 0,
    backwards: bool = False,
) -> VideoReader:
    """Open pictures of one size as a video.

    Args:
        pictures: RGB pictures uint8 [height, width, 3] in presentation order, such as an array [T, H, W, 3] or
            `codec.demux.picture_files.PictureFiles`. They are read one at a time.
        rate: Pictures per second, which determines their times.
        codec: FFmpeg's name of the codec that stored the pictures.
        short_side: Limit for the shorter side of the analysis size in pixels. Pictures are never scaled up.
        max_side: Limit for the longer side in pixels, None for no limit.
        first: Presentation index of the first picture, where `pictures` is a part of a longer sequence.
        backwards: Whether each picture is shown before the one that precedes it in `pictures`. Frames then keep their
            times, but their `index` counts from 0 as in `codec.backwards`.

    Raises:
        UnreadableError: There is no picture, or the first one is not uint8 [height, width, 3].
        UnsupportedSizeError: The pictures are too large.
        ValueError: `short_side` or `max_side` is below 16.
    """
    check_side_limits(short_side, max_side)
    iterator = iter(pictures)
    opening = next(iterator, None)
    if opening is None:
        raise UnreadableError("there are no pictures; at least one is needed")
    if not _is_rgb(opening):
        raise UnreadableError(f"a picture must be uint8 [height, width, 3]; given: {_describe(opening)}")
    height, width = opening.shape[:2]
    check_size(width, height, "the video")
    size = analysis_size(width, height, short_side, max_side)
    info = VideoInfo(
        codec=codec,
        pixel_format="rgb24",
        coded_width=width,
        coded_height=height,
        analysis_width=size[0],
        analysis_height=size[1],
        rotation=0,
        mirrored=False,
        sample_aspect_ratio=Fraction(1),
        average_rate=rate,
        frames_from_header=len(pictures) if isinstance(pictures, Sized) else None,
        duration_seconds_from_header=None,
        motion_source=MotionSource.PROXY,
    )
    scaler = Scaler(size)
    presented = _presented_pictures(chain((opening,), iterator), opening.shape, rate, first, backwards=backwards)
    return VideoReader(info, proxy_pictures(presented, scaler), scaler)


def _presented_pictures(
    pictures: Iterable[UInt8Array], shape: tuple[int, ...], rate: Fraction, first: int, *, backwards: bool
) -> Iterator[PresentedPicture]:
    for position, picture in enumerate(pictures):
        index = first - position if backwards else first + position
        if not _is_rgb(picture) or picture.shape != shape:
            raise BrokenStreamError(
                f"picture {index} is {_describe(picture)}; allowed: uint8 {list(shape)}, as the first one", index
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = index
        yield PresentedPicture(frame, position if backwards else index, float(index / rate), None)


def _is_rgb(picture: UInt8Array) -> bool:
    return picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.size > 0


def _describe(picture: UInt8Array) -> str:
    return f"{picture.dtype} {list(picture.shape)}"
