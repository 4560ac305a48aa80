"""Motion proxy: vectors from an H.264 re-encode, for streams whose decoder exports none.

libx264 encodes each picture's luma at analysis size, and a decoder returns its motion vectors. Each picture refers only
to the previous one, so the reference of a block is known. There is no delay, and memory use is constant.

`benchmarks/speed/proxy_settings.py` compares settings by propagating ground-truth masks. Slower presets cost more and
propagate worse, because they save bits (intra 4x4 blocks, larger blocks) instead of following motion. Partitions down
to 8x8 and some sub-pixel search help.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
from av.packet import Packet
from av.video.frame import PictureType

from codec.decode.side_data import exported_vectors
from codec.errors import MotionError, UnsupportedSizeError
from codec.types import MotionSource, UInt8Array, VectorArray

VECTOR_CODECS = frozenset(
    {
        *("h264", "mpeg4", "mpeg2video", "mpeg1video", "h263", "h261", "flv"),
        *("msmpeg4", "msmpeg4v2", "wmv1", "wmv2", "rv10", "rv20"),
    }
)
"""Codecs whose decoder in libavcodec 62 exports vectors with `flags2=+export_mvs`."""

MAX_SIDE = 16384
"""Largest width and height that libx264 encodes."""

ENCODER_OPTIONS: Mapping[str, str] = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "crf": "20",
    # The result depends on the number of threads.
    "threads": "1",
    "x264-params": "bframes=0:ref=1:keyint=infinite:scenecut=40:partitions=p8x8:subme=1:aq-mode=1",
}
"""Options of libx264. Any replacement must use one reference frame, no B frames and no delay."""

MOST_B_FRAMES = 3
"""Largest number of B frames in a row in a `ReorderingProxy`; that of libx264 by default."""


def resolve_motion_source(motion: str, codec: str, *, intra_only: bool = False) -> MotionSource:
    """Choose the source of motion vectors.

    Args:
        motion: "auto", "bitstream" or "proxy".
        codec: FFmpeg's name of the codec or decoder.
        intra_only: Whether the stream is known to have intra pictures only, and so no vectors.

    Raises:
        MotionError: `motion` is unknown, or "bitstream" on a codec that exports no vectors.
    """
    if motion not in ("auto", "bitstream", "proxy"):
        raise MotionError(f"motion is {motion!r}; allowed: auto, bitstream, proxy")
    exported = codec in VECTOR_CODECS
    if motion == "bitstream":
        if not exported:
            raise MotionError(
                f"motion is 'bitstream', but {codec} streams export no motion vectors; allowed here: auto, proxy"
            )
        return MotionSource.BITSTREAM
    if motion == "proxy" or intra_only or not exported:
        return MotionSource.PROXY
    return MotionSource.BITSTREAM


class MotionProxy:
    """Estimates the motion of each picture in a sequence relative to the one before. All pictures have one size.

    Args:
        width: Width of every picture in pixels, 1 to 16384.
        height: Height of every picture in pixels, 1 to 16384.
        options: Options of libx264.

    Raises:
        UnsupportedSizeError: The size is outside what libx264 encodes.
        MotionError: This build of PyAV has no libx264.
    """

    def __init__(self, width: int, height: int, options: Mapping[str, str] = ENCODER_OPTIONS) -> None:
        self._shape = (height, width)
        self._pictures = 0
        self._encoder = _open_encoder(width, height, options)
        self._decoder = _open_decoder()

    def vectors(self, luma: UInt8Array) -> VectorArray | None:
        """Encode the next picture and return the motion vectors of its blocks.

        Args:
            luma: uint8 [height, width].

        Returns:
            AVMotionVector records [n] in pixels of `luma`, all with source -1 (list 0, the previous picture); None if
            the picture is intra coded, as at the start and at a scene cut.

        Raises:
            ValueError: `luma` has another shape.
        """
        if luma.shape != self._shape:
            raise ValueError(f"luma has shape {luma.shape}; allowed: {self._shape}, the shape of the proxy")
        picture = _gray(luma, self._pictures)
        self._pictures += 1
        (decoded,) = [frame for packet in self._encoder.encode(picture) for frame in self._decoder.decode(packet)]
        return exported_vectors(decoded)


@dataclass(frozen=True, slots=True, eq=False)
class ProxyPicture:
    """Motion of a picture in a sequence with B frames.

    Attributes:
        number: Position in presentation order, from 0.
        is_reference: Whether later pictures may refer to it. B frames are no references.
        vectors: AVMotionVector records [n] in pixels of the picture, with source -1 (list 0) or 1 (list 1); None if the
            picture is intra coded.
    """

    number: int
    is_reference: bool
    vectors: VectorArray | None


class ReorderingProxy:
    """Estimates motion as in a stream with B frames, which refer to the pictures on both sides of them.

    Masks of frames that no other frame refers to take less work. All other frames refer to the one before, as in
    `MotionProxy`.

    Args:
        width: Width of every picture in pixels, 1 to 16384.
        height: Height of every picture in pixels, 1 to 16384.

    Raises:
        UnsupportedSizeError, MotionError: As for `MotionProxy`.
    """

    def __init__(self, width: int, height: int) -> None:
        parameters = ENCODER_OPTIONS["x264-params"].replace("bframes=0", f"bframes={MOST_B_FRAMES}:b-adapt=0")
        options = dict(ENCODER_OPTIONS) | {"x264-params": f"{parameters}:b-pyramid=none:sync-lookahead=0"}
        del options["tune"]  # it allows no B frames
        self._encoder = _open_encoder(width, height, options)
        self._decoder = _open_decoder()
        self._pictures = self._b_frames = 0
        self._order: deque[int] = deque()
        self._decoded: dict[int, ProxyPicture] = {}

    def push(self, luma: UInt8Array, *, is_b: bool) -> Iterator[ProxyPicture]:
        """Encode the next picture; yield the pictures whose motion is known now, in decode order.

        Args:
            luma: uint8 [height, width].
            is_b: Whether it may be a B frame. It is none after `MOST_B_FRAMES` of them, nor at the start and the end.
        """
        picture = _gray(luma, self._pictures)
        self._b_frames = self._b_frames + 1 if is_b and self._pictures and self._b_frames < MOST_B_FRAMES else 0
        if self._pictures:
            picture.pict_type = PictureType.B if self._b_frames else PictureType.P
        self._pictures += 1
        yield from self._decode(self._encoder.encode(picture))

    def flush(self) -> Iterator[ProxyPicture]:
        """Yield the pictures that are left, in decode order."""
        yield from self._decode([*self._encoder.encode(None), None])

    def _decode(self, packets: Sequence[Packet[Any] | None]) -> Iterator[ProxyPicture]:
        for packet in packets:
            if packet is not None:
                assert packet.pts is not None
                self._order.append(packet.pts)
            for frame in self._decoder.decode(packet):
                assert frame.pts is not None
                is_reference = PictureType(frame.pict_type) is not PictureType.B
                self._decoded[frame.pts] = ProxyPicture(frame.pts, is_reference, exported_vectors(frame))
            while self._order and self._order[0] in self._decoded:
                yield self._decoded.pop(self._order.popleft())


def _open_encoder(width: int, height: int, options: Mapping[str, str]) -> av.VideoCodecContext:
    """Open libx264 for gray pictures. Chroma has half the resolution and would cost a third more."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UnsupportedSizeError(
            f"the analysis size is {width}x{height}; a motion proxy allows 1x1 to {MAX_SIDE}x{MAX_SIDE} pixels"
        )
    try:
        encoder = av.CodecContext.create("libx264", "w")
    except av.error.FFmpegError as error:
        raise MotionError("a motion proxy needs libx264, which this build of PyAV lacks") from error
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "gray"
    # With constant quality and no lookahead, the rate has no effect.
    encoder.time_base = Fraction(1, 25)
    encoder.framerate = Fraction(25)
    encoder.options = dict(options)
    encoder.open()
    return encoder


def _open_decoder() -> av.VideoCodecContext:
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.options = {"flags2": "+export_mvs"}
    return decoder


def _gray(luma: UInt8Array, number: int) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray")
    picture.pts = number
    return picture
