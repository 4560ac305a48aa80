"""Motion for streams whose decoder exports none: an H.264 analysis proxy, made on the fly at analysis size.

Each picture's luma is encoded by libx264 and decoded again at once; only the vectors of that decode are kept. Nothing
but the previous picture is ever referred to, so which frame a block points to is known, not guessed, and one picture
goes in for every set of vectors that comes out: no delay, no look-ahead, constant memory.

Why these settings: `benchmarks/speed/proxy_settings.py` measures them by carrying true masks. Slower presets cost
more and
carry masks worse, since what saves bits (intra 4x4 blocks, larger blocks) is not what moves; splitting blocks down to
8x8 helps, and some sub-pixel search.
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
"""Codecs whose libavcodec 62 decoder exports vectors with `flags2=+export_mvs`."""

MAX_SIDE = 16384
"""Largest width or height that libx264 encodes."""

ENCODER_OPTIONS: Mapping[str, str] = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "crf": "20",
    # One thread: with more, results would depend on their number.
    "threads": "1",
    "x264-params": "bframes=0:ref=1:keyint=infinite:scenecut=40:partitions=p8x8:subme=1:aq-mode=1",
}
"""Of libx264. Others must keep to one reference, no B frames and no delay."""


def resolve_motion_source(motion: str, codec: str, *, intra_only: bool = False) -> MotionSource:
    """Decide where motion is taken from.

    Args:
        motion: "auto", "bitstream" or "proxy".
        codec: FFmpeg's name of the codec or decoder.
        intra_only: Whether the stream is known to hold intra pictures only, so that there are no vectors to export.

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
    """Motion vectors of a sequence of pictures of one size, each predicted from the one before.

    Args:
        width: Width of every picture in pixels, 1 to 16384.
        height: Height of every picture in pixels, 1 to 16384.
        options: Of libx264.

    Raises:
        UnsupportedSizeError: The size is outside what libx264 encodes.
        MotionError: This build of PyAV has no libx264.
    """

    def __init__(self, width: int, height: int, options: Mapping[str, str] = ENCODER_OPTIONS) -> None:
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise UnsupportedSizeError(
                f"analysis size is {width}x{height}; a motion proxy allows 1x1 to {MAX_SIDE}x{MAX_SIDE} pixels"
            )
        self._shape = (height, width)
        self._pictures = 0
        self._encoder = _open_encoder(width, height, options)
        self._decoder = av.CodecContext.create("h264", "r")
        self._decoder.thread_count = 1
        self._decoder.options = {"flags2": "+export_mvs"}

    def vectors(self, luma: UInt8Array) -> VectorArray | None:
        """Take the next picture and say how its blocks moved since the previous one.

        Args:
            luma: uint8 [height, width].

        Returns:
            Vectors in pixels of `luma`, all with source -1 (list 0: the previous picture); None where the whole
            picture is intra coded: the first one, and the first of a new scene.
        """
        if luma.shape != self._shape:
            raise ValueError(f"luma has shape {luma.shape}; allowed: {self._shape}, as the proxy was made for")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray")
        picture.pts = self._pictures
        self._pictures += 1
        (decoded,) = [frame for packet in self._encoder.encode(picture) for frame in self._decoder.decode(packet)]
        return exported_vectors(decoded)


def _open_encoder(width: int, height: int, options: Mapping[str, str]) -> av.VideoCodecContext:
    """Open libx264 for grey pictures: of colour it would only see half the resolution, at a third more work."""
    try:
        encoder = av.CodecContext.create("libx264", "w")
    except av.error.FFmpegError as error:
        raise MotionError("a motion proxy needs libx264, which this build of PyAV lacks") from error
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "gray"
    # The rate only labels the stream: with constant quality and no look-ahead it decides nothing.
    encoder.time_base = Fraction(1, 25)
    encoder.framerate = Fraction(25)
    encoder.options = dict(options)
    encoder.open()
    return encoder
