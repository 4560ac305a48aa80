"""Motion proxy: vectors from an H.264 re-encode, for streams whose decoder exports none.

libx264 encodes each picture's luma at analysis size, and a decoder returns its motion vectors. Each picture refers only
to the previous one, so the reference of a block is known. There is no delay, and memory use is constant.

`benchmarks/speed/proxy_settings.py` compares settings by propagating ground-truth masks. Slower presets cost more and
propagate worse, because they save bits (intra 4x4 blocks, larger blocks) instead of following motion. Partitions down
to 8x8 and some sub-pixel search help.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import av
import av.error
import numpy as np

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
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise UnsupportedSizeError(
                f"the analysis size is {width}x{height}; a motion proxy allows 1x1 to {MAX_SIDE}x{MAX_SIDE} pixels"
            )
        self._shape = (height, width)
        self._pictures = 0
        self._encoder = _open_encoder(width, height, options)
        self._decoder = av.CodecContext.create("h264", "r")
        self._decoder.thread_count = 1
        self._decoder.options = {"flags2": "+export_mvs"}

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
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray")
        picture.pts = self._pictures
        self._pictures += 1
        (decoded,) = [frame for packet in self._encoder.encode(picture) for frame in self._decoder.decode(packet)]
        return exported_vectors(decoded)


def _open_encoder(width: int, height: int, options: Mapping[str, str]) -> av.VideoCodecContext:
    """Open libx264 for gray pictures. Chroma has half the resolution and would cost a third more."""
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
