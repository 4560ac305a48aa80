"""Open a video that FFmpeg reads, or a series of pictures, as typed frames in decode order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from fractions import Fraction
from itertools import chain
from types import TracebackType

import av
import numpy as np

from codec.decode.decoded_picture import DecodedPicture
from codec.decode.decoder import PresentedPicture, VideoDecoder
from codec.decode.motion_proxy import resolve_motion_source
from codec.decode.orientation import orientation_of
from codec.decode.pictures import bitstream_pictures, proxy_pictures
from codec.decode.prefetch import Prefetch
from codec.decode.scaler import Scaler, analysis_size
from codec.demux.source import VideoFile, VideoSource, check_size
from codec.errors import BrokenStreamError, UnreadableError
from codec.types import CompressedFrame, MotionSource, UInt8Array, VideoInfo

_AHEAD = 4
"""Decoded pictures that wait for their analysis."""
_READY = 2
"""Frames that wait to be taken: so decoding, analysis and what is done with frames overlap."""


def open_video(
    source: VideoSource, *, short_side: int = 480, max_side: int | None = None, motion: str = "auto"
) -> VideoReader:
    """Open a video and decode its first picture.

    Args:
        source: Path, bytes, or seekable binary file object (which stays open).
        short_side: Most pixels of the shorter side of the analysis picture; it is never larger than the video.
        max_side: Most pixels of its longer side, None for any.
        motion: "bitstream" for the stream's own vectors, "proxy" for those of an H.264 copy made on the fly, "auto" for
            the former where the stream has them and the latter elsewhere (also in a stream of intra frames only).

    Raises:
        SourceError: The source is not a video that can be read (see `codec.errors`).
        UnsupportedSizeError: The pictures are too large.
        MotionError: `motion` is unknown, or "bitstream" and the codec exports no vectors.
        ValueError: A size is outside what is allowed.
    """
    _check_sides(short_side, max_side)
    file = VideoFile(source)
    try:
        intra_only = motion == "auto" and file.packets.look_intra_only()
        motion_source = resolve_motion_source(motion, file.stream.codec_context.name, intra_only=intra_only)
        return _read_file(file, motion_source, short_side, max_side)
    except BaseException:
        file.close()
        raise


def open_pictures(
    pictures: Iterable[UInt8Array],
    *,
    rate: Fraction = Fraction(24),
    codec: str = "rawvideo",
    short_side: int = 480,
    max_side: int | None = None,
) -> VideoReader:
    """Open pictures of one size as a video, with motion by the proxy.

    Args:
        pictures: RGB pictures uint8 [height, width, 3] in presentation order, such as an array [T, H, W, 3] or
            `codec.demux.picture_files.PictureFiles`; they are read one at a time.
        rate: Pictures per second, from which their times follow.
        codec: FFmpeg's name of the codec that they were stored with.
        short_side: As in `open_video`.
        max_side: As in `open_video`.

    Raises:
        UnreadableError: There is no picture, or the first one is not uint8 [height, width, 3].
        UnsupportedSizeError: The pictures are too large.
        ValueError: A size is outside what is allowed.
    """
    _check_sides(short_side, max_side)
    iterator = iter(pictures)
    first = next(iterator, None)
    if first is None:
        raise UnreadableError("there are no pictures; at least one is needed")
    if not _is_rgb(first):
        raise UnreadableError(f"a picture is uint8 [height, width, 3]; given: {_shape(first)}")
    height, width = first.shape[:2]
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
    presented = _presented(chain((first,), iterator), first.shape, rate)
    return VideoReader(info, proxy_pictures(presented, scaler), scaler)


def _presented(pictures: Iterable[UInt8Array], shape: tuple[int, ...], rate: Fraction) -> Iterator[PresentedPicture]:
    for index, picture in enumerate(pictures):
        if not _is_rgb(picture) or picture.shape != shape:
            raise BrokenStreamError(
                f"picture {index} is {_shape(picture)}; allowed: uint8 {list(shape)}, as the first one", index
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = index
        yield PresentedPicture(frame, index, float(index / rate), None)


def _is_rgb(picture: UInt8Array) -> bool:
    return picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.size > 0


def _shape(picture: UInt8Array) -> str:
    return f"{picture.dtype} {list(picture.shape)}"


class VideoReader:
    """An open video: iterate over it once, inside `with`.

    Attributes:
        info: What is known before the first frame.
    """

    def __init__(
        self,
        info: VideoInfo,
        pictures: Iterator[DecodedPicture],
        scaler: Scaler,
        close_source: Callable[[], None] = lambda: None,
    ) -> None:
        # Imported late: it brings numba, which only analysis needs.
        from codec.motion.analyzer import FrameAnalyzer  # noqa: PLC0415

        self.info = info
        self._analyzer = FrameAnalyzer(scaler)
        self._pictures: Prefetch[DecodedPicture] = Prefetch(pictures, _AHEAD)
        self._frames: Prefetch[CompressedFrame] | None = None
        self._close_source = close_source

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[CompressedFrame]:
        """Frames in decode order, each once.

        Raises:
            BrokenStreamError: Decoding stopped in the middle; what came before has been given.
        """
        if self._frames is None:
            self._frames = Prefetch(map(self._analyzer.analyze, self._pictures), _READY)
        return self._frames

    def close(self) -> None:
        """Stop decoding and close the source. Frames already given stay usable."""
        if self._frames is not None:
            self._frames.close()
        self._pictures.close()
        self._close_source()


def _read_file(file: VideoFile, source: MotionSource, short_side: int, max_side: int | None) -> VideoReader:
    decoder = VideoDecoder(file, vectors=source is MotionSource.BITSTREAM)
    first = decoder.peek().frame
    rotation, mirrored = orientation_of(first)
    size = analysis_size(first.width, first.height, short_side, max_side)
    stream = file.stream
    rate = stream.average_rate
    info = VideoInfo(
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=first.format.name,
        coded_width=first.width,
        coded_height=first.height,
        analysis_width=size[0],
        analysis_height=size[1],
        rotation=rotation,
        mirrored=mirrored,
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        average_rate=rate or None,
        frames_from_header=stream.frames or None,
        duration_seconds_from_header=float(stream.duration * stream.time_base)
        if stream.duration and stream.time_base
        else None,
        motion_source=source,
        profile=stream.codec_context.profile,
    )
    scaler = Scaler(size)
    if source is MotionSource.BITSTREAM:
        return VideoReader(info, bitstream_pictures(decoder), scaler, file.close)
    return VideoReader(info, proxy_pictures(_in_presentation_order(decoder), scaler), scaler, file.close)


def _in_presentation_order(decoder: VideoDecoder) -> Iterator[PresentedPicture]:
    for picture in decoder.pictures():
        decoder.pop_sent()  # only decode order needs the packets
        yield picture


def _check_sides(short_side: int, max_side: int | None) -> None:
    for name, value in (("short_side", short_side), ("max_side", max_side)):
        if value is not None and value < 16:
            raise ValueError(f"{name} is {value}; it must be at least 16")
