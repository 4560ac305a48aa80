"""Pictures -> a compressed clip in memory, as evaluation and training need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.video.stream import VideoStream

from codec.errors import EncodingError
from codec.types import UInt8Array

_UP_TO_AVX2 = "asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
"""x264's lookahead for AVX-512 reads memory that nothing was written to, so that clips would differ between runs."""
RATE = Fraction(24)
"""Frames per second of the clips; DAVIS is shown at 24."""
_CONTAINER = "matroska"

DEFAULT_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "medium", "crf": "23"},
    "libx265": {"preset": "medium", "crf": "28", "x265-params": "log-level=error"},
    "libvpx-vp9": {"b": "0", "crf": "32", "cpu-used": "5"},
    "mpeg4": {"b": "3M"},
    "mpeg2video": {"b": "4M", "bf": "2"},
    "mjpeg": {"strict": "unofficial"},
}
"""What an encoder gets where nothing else is asked for: good pictures at 480p."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """An FFmpeg video encoder and its options.

    Attributes:
        name: FFmpeg's name, such as "libx264".
        options: Option -> value, in addition to `DEFAULT_OPTIONS`.
    """

    name: str = "libx264"
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _find(self.name)

    @property
    def all_options(self) -> dict[str, str]:
        """Options with the defaults."""
        return {**DEFAULT_OPTIONS.get(self.name, {}), **self.options}

    @property
    def repeatable_options(self) -> dict[str, str]:
        """The same, and for libx264 what makes it give the same clip each time, unless `asm` was asked for."""
        options = self.all_options
        given = options.get("x264-params", "")
        if self.name == "libx264" and "asm=" not in given and _has_avx512():
            options["x264-params"] = ":".join(filter(None, (given, _UP_TO_AVX2)))
        return options


def parse_options(text: str) -> dict[str, str]:
    """Options written as "k=v,k=v"; a value may itself hold "=" and ":", as x264-params does.

    Raises:
        EncodingError: A part is not of that form.
    """
    options = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not (key.strip() and equals):
            raise EncodingError(
                f"the list of encoder options has {part!r}; expected key=value,key=value such as crf=28,bf=0"
            )
        options[key.strip()] = value.strip()
    return options


def encode(pictures: Iterable[UInt8Array], encoder: Encoder) -> bytes:
    """Encode RGB pictures uint8 [height, width, 3], all of one size, at 24 frames per second.

    One thread, so that the clip does not depend on the number of cores.

    Raises:
        EncodingError: The encoder refuses its options or the pictures.
    """
    buffer = BytesIO()
    try:
        with av.open(buffer, "w", format=_CONTAINER) as container:
            _encode_into(container, pictures, encoder)
    except (av.FFmpegError, ValueError) as error:
        given = ",".join(f"{key}={value}" for key, value in encoder.all_options.items())
        reason = getattr(error, "strerror", None) or error
        raise EncodingError(f"encoder {encoder.name} does not work with the options {given!r}: {reason}") from error
    return buffer.getvalue()


@cache
def _has_avx512() -> bool:
    """Whether the processor has it; every one that has it has what `_UP_TO_AVX2` names."""
    config: Any = np.show_config(mode="dicts")
    simd = config.get("SIMD Extensions", {})  # what is empty is left out
    found = [*simd.get("baseline", []), *simd.get("found", [])]
    return any(name == "X86_V4" or name.startswith("AVX512") for name in found)


def _encode_into(container: OutputContainer, pictures: Iterable[UInt8Array], encoder: Encoder) -> None:
    stream: VideoStream | None = None
    for picture in pictures:
        if stream is None:
            stream = _add_stream(container, encoder, *picture.shape[:2])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    if stream is None:
        raise ValueError("no picture was given")
    container.mux(stream.encode())


def _add_stream(container: OutputContainer, encoder: Encoder, height: int, width: int) -> VideoStream:
    stream = container.add_stream(encoder.name, rate=RATE, options=encoder.repeatable_options)
    if not isinstance(stream, VideoStream):
        raise EncodingError(f"encoder {encoder.name} makes no video")
    stream.width, stream.height = width, height
    stream.pix_fmt = _pixel_format(encoder.name, height, width)
    stream.codec_context.thread_count = 1
    stream.codec_context.open(strict=False)
    # FFmpeg takes the options it knows out of the dictionary and leaves the others there.
    unknown = sorted(set(stream.codec_context.options))
    if unknown:
        raise EncodingError(f"encoder {encoder.name} has no option {', '.join(unknown)}")
    return stream


def _pixel_format(name: str, height: int, width: int) -> str:
    """4:2:0 where the encoder has it; 4:4:4 for odd sizes, which some encoders cannot do in 4:2:0."""
    formats = [fmt.name for fmt in _find(name).video_formats or ()]
    wanted = ("yuv444p", "yuv420p") if height % 2 or width % 2 else ("yuv420p", "yuvj420p")
    return next((fmt for fmt in wanted if fmt in formats), formats[0] if formats else "yuv420p")


def _find(name: str) -> av.Codec:
    try:
        codec = av.Codec(name, "w")
    except UnknownCodecError:
        codec = None
    if codec is None or codec.type != "video":
        usual = [usual for usual in sorted(av.codecs_available) if usual in _USUAL]
        raise EncodingError(f"{name!r} is not a video encoder here; for example: {', '.join(usual)}")
    return codec


_USUAL = ("libx264", "libx265", "mpeg4", "mpeg2video", "mpeg1video", "libvpx-vp9", "libsvtav1", "ffv1", "prores_ks")
