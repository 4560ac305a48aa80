"""Read one frame of a video as it is displayed: full size, RGB, upright."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, cast

import av

from codec.decode.colors import to_rgb
from codec.decode.decoder import VideoDecoder
from codec.demux.source import VideoFile, VideoSource
from codec.errors import BrokenStreamError, NoSuchFrameError
from codec.reader import presented_pictures, video_info
from codec.types import MotionSource, UInt8Array, VideoInfo


@dataclass(frozen=True, slots=True, eq=False)
class DisplayedFrame:
    """One frame as it is displayed.

    Attributes:
        index: Position in presentation order, from 0.
        time: Presentation time in seconds.
        rgb: uint8 [height, width, 3] in the display size and orientation of the video, which masks have too.
        sample_aspect_ratio: Width of a pixel divided by its height. The picture does not apply it, nor do masks.
    """

    index: int
    time: float
    rgb: UInt8Array
    sample_aspect_ratio: Fraction = Fraction(1)


class Pictures(Protocol):
    """RGB pictures uint8 [height, width, 3] by their position."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> UInt8Array: ...


def read_displayed_frame(source: VideoSource, index: int) -> DisplayedFrame:
    """Decode a video up to one frame.

    Args:
        source: Path, bytes, or seekable binary file object. A file object stays open.
        index: Position in presentation order, from 0.

    Raises:
        SourceError: The source is not a readable video (see `codec.errors`).
        NoSuchFrameError: The video has fewer frames.
        BrokenStreamError: Decoding stopped before the frame.
    """
    with closing(read_displayed_frames(source, index, 1)) as frames:
        return next(frames)


def read_displayed_frames(source: VideoSource, first: int, count: int) -> Generator[DisplayedFrame, None, None]:
    """Decode a video from its start, and yield up to `count` frames from `first` on, as far as they can be decoded.

    Close the generator where it is used (`contextlib.closing`).

    Raises:
        SourceError, NoSuchFrameError, BrokenStreamError: As for `read_displayed_frame`, if not even the first is found.
    """
    with closing(VideoDecoder(VideoFile(source), vectors=False)) as decoder:
        info = full_size_info(decoder)
        decoded = 0
        try:
            for picture in presented_pictures(decoder):
                decoded = picture.index + 1
                if picture.index >= first:
                    yield displayed(picture.frame, info, picture.index, picture.time)
                if decoded == first + count:
                    return
        except BrokenStreamError:
            if decoded <= first:
                raise
        if decoded <= first:
            raise no_such_frame(first, decoded)


def pick_picture(pictures: Pictures, index: int, rate: Fraction = Fraction(24)) -> DisplayedFrame:
    """Return one of a series of pictures.

    Args:
        pictures: RGB pictures uint8 [height, width, 3] in presentation order.
        index: Position, from 0.
        rate: Pictures per second, which determines the time.

    Raises:
        NoSuchFrameError: There are fewer pictures.
        CodecError: A picture cannot be read.
    """
    if index >= len(pictures):
        raise no_such_frame(index, len(pictures))
    return DisplayedFrame(index, float(index / rate), pictures[index])


def full_size_info(decoder: VideoDecoder) -> VideoInfo:
    """Return the properties of a video whose pictures are not scaled down."""
    first = decoder.peek().frame
    return video_info(decoder.file, first, (first.width, first.height), MotionSource.BITSTREAM)


def displayed(frame: av.VideoFrame, info: VideoInfo, index: int, time: float) -> DisplayedFrame:
    """Convert a decoded picture; one whose size differs from the first picture's is scaled to it, as masks are."""
    rgb = to_rgb(frame, (info.coded_width, info.coded_height))
    return DisplayedFrame(index, time, cast(UInt8Array, info.to_display(rgb)).copy(), info.sample_aspect_ratio)


def no_such_frame(index: int, count: int) -> NoSuchFrameError:
    """Return the error for a position beyond the video's `count` frames."""
    frames = "1 frame, number 0" if count == 1 else f"{count} frames, 0 to {count - 1}"
    return NoSuchFrameError(f"frame {index} does not exist: the video has {frames}", count)
