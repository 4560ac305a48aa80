"""open_video: any video that FFmpeg reads -> typed frames in decode order."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType

from codec.decode.decoded_picture import DecodedPicture
from codec.decode.decoder import VideoDecoder
from codec.decode.motion_proxy import resolve_motion_source
from codec.decode.orientation import orientation_of
from codec.decode.pictures import bitstream_pictures, proxy_pictures
from codec.decode.prefetch import Prefetch
from codec.decode.scaler import Scaler, analysis_size
from codec.demux.source import VideoFile, VideoSource
from codec.types import CompressedFrame, MotionSource, VideoInfo

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
    for name, value in (("short_side", short_side), ("max_side", max_side)):
        if value is not None and value < 16:
            raise ValueError(f"{name} is {value}; it must be at least 16")
    file = VideoFile(source)
    try:
        intra_only = motion == "auto" and file.packets.look_intra_only()
        motion_source = resolve_motion_source(motion, file.stream.codec_context.name, intra_only=intra_only)
        return VideoReader(file, motion_source, short_side, max_side)
    except BaseException:
        file.close()
        raise


class VideoReader:
    """An open video: iterate over it once, inside `with`.

    Attributes:
        info: What is known before the first frame.
    """

    def __init__(self, file: VideoFile, source: MotionSource, short_side: int, max_side: int | None) -> None:
        self._file = file
        decoder = VideoDecoder(file, vectors=source is MotionSource.BITSTREAM)
        first = decoder.peek().frame
        rotation, mirrored = orientation_of(first)
        size = analysis_size(first.width, first.height, short_side, max_side)
        stream = file.stream
        rate = stream.average_rate
        self.info = VideoInfo(
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
        # Late, for it brings numba, which nothing but analysis needs.
        from codec.motion.analyzer import FrameAnalyzer  # noqa: PLC0415

        scaler = Scaler(size)
        self._analyzer = FrameAnalyzer(scaler)
        self._pictures: Prefetch[DecodedPicture] = Prefetch(
            bitstream_pictures(decoder) if source is MotionSource.BITSTREAM else proxy_pictures(decoder, scaler), _AHEAD
        )
        self._frames: Prefetch[CompressedFrame] | None = None

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
        self._file.close()
