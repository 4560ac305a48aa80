"""Encode pictures into a video clip in memory, for evaluation and training."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from codec.decode.colors import BT709, assumed_matrix
from codec.errors import EncodingError
from codec.types import UInt8Array

RATE = Fraction(24)
"""Frames per second of the clips, the rate of DAVIS."""

DEFAULT_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "medium", "crf": "23"},
    "libx265": {"preset": "medium", "crf": "28", "x265-params": "log-level=error"},
    "libvpx-vp9": {"b": "0", "crf": "32", "cpu-used": "5"},
    "mpeg4": {"b": "3M"},
    "mpeg2video": {"b": "4M", "bf": "2"},
    "mjpeg": {"strict": "unofficial"},
}
"""Default options by encoder, for good quality at 480p."""

_CONTAINER = "matroska"
_UP_TO_AVX2 = "asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
"""Excludes AVX-512: x264's lookahead for it reads uninitialized memory, so clips would differ between runs."""
_SUGGESTED_ENCODERS = (
    "libx264",
    "libx265",
    "mpeg4",
    "mpeg2video",
    "mpeg1video",
    "libvpx-vp9",
    "libsvtav1",
    "ffv1",
    "prores_ks",
)


@dataclass(frozen=True, slots=True)
class Encoder:
    """An FFmpeg video encoder and its options.

    Attributes:
        name: FFmpeg's name of the encoder, such as "libx264".
        options: Option values that extend or override `DEFAULT_OPTIONS`.

    Raises:
        EncodingError: There is no such video encoder.
    """

    name: str = "libx264"
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _find(self.name)

    @property
    def all_options(self) -> dict[str, str]:
        """Options including the defaults."""
        return {**DEFAULT_OPTIONS.get(self.name, {}), **self.options}

    @property
    def repeatable_options(self) -> dict[str, str]:
        """All options, plus the one that makes libx264 reproducible, unless `asm` is given."""
        options = self.all_options
        given = options.get("x264-params", "")
        if self.name == "libx264" and "asm=" not in given and _has_avx512():
            options["x264-params"] = ":".join(filter(None, (given, _UP_TO_AVX2)))
        return options


def parse_options(text: str) -> dict[str, str]:
    """Parse options written as "key=value,key=value". A value may contain "=" and ":", as x264-params does.

    Raises:
        EncodingError: A part of the text is not of this form.
    """
    options = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not (key.strip() and equals):
            raise EncodingError(
                f"the encoder options contain {part!r}; expected key=value,key=value such as crf=28,bf=0"
            )
        options[key.strip()] = value.strip()
    return options


def encode(pictures: Iterable[UInt8Array], encoder: Encoder) -> bytes:
    """Encode pictures at 24 frames per second into a Matroska file.

    The encoder uses one thread, so the clip does not depend on the number of cores.

    Args:
        pictures: RGB pictures uint8 [height, width, 3], all of one size.
        encoder: The encoder and its options.

    Raises:
        EncodingError: The encoder rejects its options or the pictures.
    """
    buffer = BytesIO()
    try:
        with same_scheduling(), av.open(buffer, "w", format=_CONTAINER) as container:
            _encode_into(container, pictures, encoder)
    except (av.FFmpegError, ValueError) as error:
        given = ",".join(f"{key}={value}" for key, value in encoder.all_options.items())
        reason = getattr(error, "strerror", None) or error
        raise EncodingError(
            f"encoder {encoder.name} rejects the options {given!r} or the pictures: {reason}"
        ) from error
    return buffer.getvalue()


@contextmanager
def same_scheduling() -> Iterator[None]:
    """Give the calling thread its scheduling policy back at the end of the block.

    SVT-AV1 makes the thread that opens it a real-time one if it may, as root. That thread, and all processes that it
    starts later, would take the cores from others.
    """
    if not hasattr(os, "sched_getscheduler"):  # Linux has it
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


@cache
def _has_avx512() -> bool:
    """Whether the processor has AVX-512, and so all extensions in `_UP_TO_AVX2`."""
    config: Any = np.show_config(mode="dicts")
    simd = config.get("SIMD Extensions", {})  # numpy omits empty entries
    found = [*simd.get("baseline", []), *simd.get("found", [])]
    return any(name == "X86_V4" or name.startswith("AVX512") for name in found)


def _encode_into(container: OutputContainer, pictures: Iterable[UInt8Array], encoder: Encoder) -> None:
    stream: VideoStream | None = None
    for picture in pictures:
        if stream is None:
            stream = _add_stream(container, encoder, *picture.shape[:2])
        container.mux(stream.encode(_to_ycbcr(picture, stream)))
    if stream is None:
        raise ValueError("no picture was given")
    container.mux(stream.encode())


def _to_ycbcr(picture: UInt8Array, stream: VideoStream) -> av.VideoFrame:
    """Convert to the encoder's format by the matrix that it is tagged with, BT.601 without a tag."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    if stream.codec_context.colorspace != BT709:
        return frame  # the encoder converts it
    return frame.reformat(format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709)


def _add_stream(container: OutputContainer, encoder: Encoder, height: int, width: int) -> VideoStream:
    stream = container.add_stream(encoder.name, rate=RATE, options=encoder.repeatable_options)
    if not isinstance(stream, VideoStream):
        raise EncodingError(f"encoder {encoder.name} is not a video encoder")
    stream.width, stream.height = width, height
    stream.pix_fmt = _pixel_format(encoder.name, height, width)
    if assumed_matrix(width, height) == BT709 and encoder.name != "mjpeg":  # JPEG is always BT.601
        stream.codec_context.colorspace = BT709
    stream.codec_context.thread_count = 1
    stream.codec_context.open(strict=False)
    # FFmpeg removes the options it knows from the dictionary.
    unknown = sorted(set(stream.codec_context.options))
    if unknown:
        raise EncodingError(f"encoder {encoder.name} has no option {', '.join(unknown)}")
    return stream


def _pixel_format(name: str, height: int, width: int) -> str:
    """4:2:0 if the encoder supports it, 4:4:4 for odd sizes, which some encoders reject in 4:2:0."""
    formats = [fmt.name for fmt in _find(name).video_formats or ()]
    wanted = ("yuv444p", "yuv420p") if height % 2 or width % 2 else ("yuv420p", "yuvj420p")
    return next((fmt for fmt in wanted if fmt in formats), formats[0] if formats else "yuv420p")


def _find(name: str) -> av.Codec:
    try:
        codec = av.Codec(name, "w")
    except UnknownCodecError:
        codec = None
    if codec is None or codec.type != "video":
        available = [suggested for suggested in sorted(av.codecs_available) if suggested in _SUGGESTED_ENCODERS]
        raise EncodingError(
            f"{name!r} is not an available video encoder; available are, for example: {', '.join(available)}"
        )
    return codec
