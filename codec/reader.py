"""Open any video that FFmpeg reads and iterate over typed frames in decode order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from types import TracebackType

import av

from codec.decode.decoded_picture import DecodedPicture
from codec.decode.decoder import PresentedPicture, VideoDecoder
from codec.decode.motion_proxy import resolve_motion_source
from codec.decode.orientation import orientation_of
from codec.decode.pictures import bitstream_pictures, proxy_pictures
from codec.decode.prefetch import Prefetch
from codec.decode.scaler import Scaler, analysis_size, check_side_limits
from codec.decode.seeking import Timestamps
from codec.decode.timeline import Timeline
from codec.demux.source import VideoFile, VideoSource
from codec.demux.truncation import WITH_DURATION
from codec.types import CompressedFrame, MotionSource, VideoInfo

# Decoding, motion analysis and the consumer of frames overlap, with a bounded queue between each two.
_PICTURE_QUEUE_SIZE = 4
_FRAME_QUEUE_SIZE = 2
_SHORT_SIDE = 480
"""Default limit for the shorter side of the analysis size in pixels."""


def open_video(
    source: VideoSource,
    *,
    short_side: int = _SHORT_SIDE,
    max_side: int | None = None,
    motion: str = "auto",
    first: int = 0,
    skip_earlier: bool = False,
    timestamps: Timestamps | None = None,
) -> VideoReader:
    """Open a video and decode its first picture.

    Args:
        source: Path, bytes, or seekable binary file object. A file object stays open.
        short_side: Limit for the shorter side of the analysis size in pixels. Videos are never scaled up.
        max_side: Limit for the longer side in pixels, None for no limit.
        motion: "bitstream" for the stream's own vectors, "proxy" for those of an H.264 re-encode, "auto" for the
            bitstream if it has vectors and the proxy otherwise.
        first: Presentation index of the first frame that is wanted. Reading begins at a key frame before it, if
            `timestamps` tell where. Frames before the wanted one may lack references, and have no motion.
        skip_earlier: Whether frames before the wanted one are left out. The wanted one then has no motion either.
        timestamps: From `codec.random_access.list_timestamps`; needed for `first`.

    Raises:
        SourceError: The source is not a readable video (see `codec.errors`).
        UnsupportedSizeError: The pictures are too large.
        MotionError: `motion` is unknown, or it is "bitstream" and the codec exports no vectors.
        ValueError: `short_side` or `max_side` is below 16.
    """
    check_side_limits(short_side, max_side)
    file = VideoFile(source)
    try:
        motion_source = _motion_source(file, motion)
        decoder = VideoDecoder(file, vectors=motion_source is MotionSource.BITSTREAM)
        info = _info(decoder, motion_source, short_side, max_side)
        if timestamps is None or not 0 < first < len(timestamps) or decoder.seek(first, timestamps):
            return _read(decoder, info, first, skip_earlier=skip_earlier)
    except BaseException:
        file.close()
        raise
    file.close()  # no seek finds the frame intact
    return open_video(
        source, short_side=short_side, max_side=max_side, motion=motion, first=first, skip_earlier=skip_earlier
    )


def read_info(source: VideoSource, *, short_side: int = _SHORT_SIDE, max_side: int | None = None) -> VideoInfo:
    """Return the properties that `open_video` finds, without loading what analyzes frames.

    Args:
        source: As for `open_video`.
        short_side: As for `open_video`.
        max_side: As for `open_video`.

    Raises:
        SourceError: The source is not a readable video.
        UnsupportedSizeError: The pictures are too large.
    """
    with closing(VideoFile(source)) as file:
        motion_source = _motion_source(file, "auto")
        with closing(VideoDecoder(file, vectors=motion_source is MotionSource.BITSTREAM)) as decoder:
            return _info(decoder, motion_source, short_side, max_side)


class VideoReader:
    """An open video. Use it as a context manager and iterate over it once.

    Args:
        info: Properties of the video.
        pictures: Decoded pictures. References must precede the pictures that use them.
        scaler: Scales pictures to analysis size.
        close_source: Closes what `pictures` reads from.
        timeline: Where pictures lie in time; None if their clock cannot jump.
        first: Presentation index of the first picture that is wanted. Those before it have no motion.
        skip_earlier: Whether pictures before it are left out. The wanted one then has no motion either.

    Attributes:
        info: Properties of the video.
    """

    def __init__(
        self,
        info: VideoInfo,
        pictures: Iterator[DecodedPicture],
        scaler: Scaler,
        close_source: Callable[[], None] = lambda: None,
        timeline: Timeline | None = None,
        *,
        first: int = 0,
        skip_earlier: bool = False,
    ) -> None:
        # Imported here because it loads numba, which only analysis needs.
        from codec.motion.analyzer import FrameAnalyzer  # noqa: PLC0415

        self.info = info
        self._analyzer = FrameAnalyzer(scaler, first + skip_earlier)
        self._begin = first if skip_earlier else 0
        self._pictures: Prefetch[DecodedPicture] = Prefetch(pictures, _PICTURE_QUEUE_SIZE)
        self._frames: Prefetch[CompressedFrame] | None = None
        self._close_source = close_source
        self._timeline = timeline

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[CompressedFrame]:
        """Yield each frame once, in decode order.

        Raises:
            BrokenStreamError: Decoding stopped early. All frames before the break have been yielded.
        """
        if self._frames is None:
            frames = map(self._analyzer.analyze, self._pictures)
            begin = self._begin  # not `self` in the generator: its thread would keep the reader from being dropped
            self._frames = Prefetch((frame for frame in frames if frame.index >= begin), _FRAME_QUEUE_SIZE)
        return self._frames

    @property
    def clock_jumps(self) -> tuple[int, ...]:
        """Presentation indices of the pictures, among those decoded so far, at which the stream's clock jumped."""
        return () if self._timeline is None else self._timeline.jumps

    def close(self) -> None:
        """Stop decoding and close the source. Frames that were yielded stay usable."""
        if self._frames is not None:
            self._frames.close()
        self._pictures.close()
        self._close_source()


def _read(decoder: VideoDecoder, info: VideoInfo, first: int, *, skip_earlier: bool) -> VideoReader:
    scaler = Scaler((info.analysis_width, info.analysis_height))
    if info.motion_source is MotionSource.BITSTREAM:
        pictures = bitstream_pictures(decoder)
    else:
        begin = first if skip_earlier else 0
        pictures = proxy_pictures((p for p in presented_pictures(decoder) if p.index >= begin), scaler)
    return VideoReader(info, pictures, scaler, decoder.close, decoder.timeline, first=first, skip_earlier=skip_earlier)


def _motion_source(file: VideoFile, motion: str) -> MotionSource:
    intra_only = motion == "auto" and file.packets.peek_intra_only()
    return resolve_motion_source(motion, file.stream.codec_context.name, intra_only=intra_only)


def _info(decoder: VideoDecoder, source: MotionSource, short_side: int, max_side: int | None) -> VideoInfo:
    first = decoder.peek().frame
    size = analysis_size(first.width, first.height, short_side, max_side)
    return replace(video_info(decoder.file, first, size, source), lost_packets=decoder.lost_packets)


def presented_pictures(decoder: VideoDecoder) -> Iterator[PresentedPicture]:
    """Yield pictures in presentation order; decode order, which needs the packets, is not restored."""
    for picture in decoder.pictures():
        decoder.pop_sent()  # restoring decode order would need them
        yield picture


def video_info(file: VideoFile, first: av.VideoFrame, size: tuple[int, int], source: MotionSource) -> VideoInfo:
    """Properties of a video from its stream, its first decoded picture and the analysis size (width, height)."""
    stream = file.stream
    rotation, mirrored = orientation_of(first)
    return VideoInfo(
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=first.format.name,
        coded_width=first.width,
        coded_height=first.height,
        analysis_width=size[0],
        analysis_height=size[1],
        rotation=rotation,
        mirrored=mirrored,
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        average_rate=stream.average_rate or None,
        frames_from_header=stream.frames or None,
        duration_seconds_from_header=_stated_seconds(file),
        motion_source=source,
        profile=stream.codec_context.profile,
        clean_aperture=None if file.clean_aperture is None else file.clean_aperture.within(first.width, first.height),
    )


def _stated_seconds(file: VideoFile) -> float | None:
    """Duration that the file states. Of other formats, FFmpeg gives an estimate from timestamps."""
    stream, whole = file.stream, file.container.duration
    if not file.formats & WITH_DURATION:
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return whole / av.time_base if whole else None
