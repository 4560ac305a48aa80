"""Small files for tests of the service layer: masks, and clips with sound or odd frame times."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from codec.decode.colors import Colors
from codec.types import UInt8Array
from service.writers.png import encode_mask
from tests.support.odd_streams import h264, pictures

MILLISECOND = Fraction(1, 1000)


def square(width: int, height: int, value: int = 1) -> UInt8Array:
    """Return labels [height, width] with one square of `value`."""
    labels = np.zeros((height, width), np.uint8)
    labels[height // 4 : height // 2, width // 4 : width // 2] = value
    return labels


def write_mask(path: Path, width: int = 64, height: int = 48) -> Path:
    """Write an indexed PNG with a square of object 1."""
    path.write_bytes(encode_mask(square(width, height)))
    return path


def write_grey(path: Path, pixels: UInt8Array) -> Path:
    """Write any array as a PNG that is not indexed."""
    Image.fromarray(pixels).save(path, format="PNG")
    return path


def write_clip(
    path: Path,
    times: Iterable[int] = range(0, 480, 40),
    *,
    size: tuple[int, int] = (64, 48),
    audio: str | None = None,
    pixel_format: str = "yuv420p",
    rotation: int = 0,
) -> Path:
    """Write H.264 with a frame at each of `times` in milliseconds, and optionally half a second of silence from there.

    Args:
        path: File to write; its ending chooses the container.
        times: Presentation times, ascending.
        size: Width and height in pixels.
        audio: FFmpeg's name of an audio encoder.
        pixel_format: What to encode.
        rotation: Degrees anticlockwise that players turn the picture.
    """
    moments = list(times)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"threads": "1", "bf": "2"})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = stream.time_base = MILLISECOND
        if rotation:
            stream.set_display_rotation(rotation)
        sound: Any = container.add_stream(audio, rate=48000) if audio else None
        for time, drawn in zip(moments, pictures(len(moments), *size), strict=True):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), "rgb24")
            picture.pts, picture.time_base = time, MILLISECOND
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_silence(container, sound, moments[0])
    return path


def write_patches(
    path: Path,
    colors: Colors | None,
    *,
    size: tuple[int, int] = (64, 48),
    encoder: str = "libx264",
    pixel_format: str = "yuv420p",
) -> Path:
    """Write three frames of four flat patches with these tags; None for no tags. Nothing converts the samples."""
    options = {"x265-params": "log-level=none"} if encoder == "libx265" else {"crf": "4"}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(encoder, rate=25, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        if colors is not None:
            context.colorspace, context.color_range = colors.matrix, colors.color_range
            context.color_primaries, context.color_trc = colors.primaries, colors.transfer
        for _ in range(3):
            container.mux(stream.encode(_patches(size, pixel_format)))
        container.mux(stream.encode(None))
    return path


def _patches(size: tuple[int, int], pixel_format: str) -> av.VideoFrame:
    frame = av.VideoFrame(*size, pixel_format)
    is_deep = "10" in pixel_format
    for plane, levels in zip(frame.planes, ((60, 200, 120, 90), (100, 90, 160, 128), (180, 100, 90, 128)), strict=True):
        wide, high = plane.width // 2, plane.height // 2
        quarters = np.array(levels, np.uint16).reshape(2, 2) * (4 if is_deep else 1)
        drawn = np.zeros((plane.height, plane.line_size // (2 if is_deep else 1)), "<u2" if is_deep else np.uint8)
        drawn[:, : plane.width] = quarters.repeat(high, axis=0).repeat(wide, axis=1)
        plane.update(drawn.tobytes())
    return frame


def _add_silence(container: Any, stream: Any, start: int) -> None:
    kind, numbers = ("s16", np.int16) if stream.codec_context.name == "flac" else ("fltp", np.float32)
    for block in range(24):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), numbers), kind, "mono")
        frame.sample_rate, frame.pts = 48000, block * 1024 + start * 48
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_broken(path: Path, bad: int = 12) -> Path:
    """Write 24 frames of H.264, 160x96, whose packet `bad` is damaged, so that a decoder stops there."""
    path.write_bytes(broken(h264("matroska", bframes=0), bad))
    return path


def broken(video: bytes, bad: int) -> bytes:
    """Write a video as Matroska whose packet `bad` is damaged."""
    file = BytesIO()
    with av.open(BytesIO(video)) as source, av.open(file, "w", format="matroska") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.dts is not None):
            sent = av.Packet(b"\xff" * 50) if number == bad else packet
            sent.pts, sent.dts, sent.time_base, sent.stream = packet.pts, packet.dts, packet.time_base, stream
            output.mux(sent)
    return file.getvalue()


def header_only(width: int, height: int) -> bytes:
    """Return a PNG whose header has a size, with almost no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
