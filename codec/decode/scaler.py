"""Scale decoded pictures to analysis size: luma immediately, RGB on demand; and hand out their full-size planes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from codec.decode.colors import UNCHANGED, to_rgb
from codec.types import PicturePlanes, UInt8Array

_FORMATS_WITH_LUMA_PLANE = frozenset(
    {
        *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "gray", "nv12", "nv21"),
        *("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuva420p", "yuva422p", "yuva444p"),
    }
)
"""Pixel formats whose first plane is 8-bit luma."""
_PLANAR_420 = frozenset({"yuv420p", "yuvj420p", "yuva420p"})

_KERNEL_X, _KERNEL_Y = np.ones(1, np.float32), np.array((0.25, 0.5, 0.25), np.float32)
"""Filter that blends the two fields of an interlaced picture."""

_MIN_SIDE_LIMIT = 16


def analysis_size(width: int, height: int, short_side: int, max_side: int | None) -> tuple[int, int]:
    """Analysis size (width, height) of a picture: same aspect ratio, never larger than the picture.

    Args:
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        short_side: Limit for the shorter side in pixels.
        max_side: Limit for the longer side in pixels, None for no limit.
    """
    scale = min(1.0, short_side / min(width, height))
    if max_side is not None:
        scale = min(scale, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def check_side_limits(short_side: int, max_side: int | None) -> None:
    """Check the limits of the analysis size.

    Raises:
        ValueError: A limit is below 16 pixels.
    """
    for name, value in (("short_side", short_side), ("max_side", max_side)):
        if value is not None and value < _MIN_SIDE_LIMIT:
            raise ValueError(f"{name} is {value}; it must be at least {_MIN_SIDE_LIMIT}")


class Scaler:
    """Scales decoded pictures of any size and pixel format to one analysis size.

    Args:
        size: Analysis size (width, height) in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._to_luma = VideoReformatter()
        self._to_rgb = VideoReformatter()
        self._to_planes = VideoReformatter()
        self._lock = threading.Lock()

    def luma(self, picture: av.VideoFrame) -> UInt8Array:
        """Luma uint8 [height, width] in the stream's own range (limited or full).

        The two fields of an interlaced picture show different times. They are blended, so that one vector can predict
        both.
        """
        luma = self._luma(picture)
        return (
            np.asarray(cv2.sepFilter2D(luma, -1, _KERNEL_X, _KERNEL_Y), np.uint8) if picture.interlaced_frame else luma
        )

    def _luma(self, picture: av.VideoFrame) -> UInt8Array:
        width, height = self.size
        if (picture.width, picture.height) == self.size and picture.format.name in _FORMATS_WITH_LUMA_PLANE:
            rows = _rows(picture, 0, width, height)
            if rows is not None:
                return rows.copy()
        gray = self._to_luma.reformat(picture, width, height, "gray", threads=1, **UNCHANGED)
        return np.ascontiguousarray(gray.to_ndarray(), np.uint8)

    def rgb(self, picture: av.VideoFrame) -> Callable[[], UInt8Array]:
        """A function that returns the RGB picture uint8 [height, width, 3]. It keeps the decoded picture in memory."""

        def convert() -> UInt8Array:
            with self._lock:
                return to_rgb(picture, self.size, self._to_rgb)

        return convert

    def planes(self, picture: av.VideoFrame) -> Callable[[], PicturePlanes]:
        """A function that returns the picture's planes at full size, without a copy where its format is 8-bit 4:2:0."""

        def to_planes() -> PicturePlanes:
            found = _planes(picture) if picture.format.name in _PLANAR_420 else None
            if found is None:
                with self._lock:
                    converted = self._to_planes.reformat(picture, format="yuv420p", threads=1, **UNCHANGED)
                found = _planes(converted)
            assert found is not None
            return found

        return to_planes


def _planes(picture: av.VideoFrame) -> PicturePlanes | None:
    """Views of the planes of a 4:2:0 picture; None if a plane is stored bottom up."""
    width, height = picture.width, picture.height
    sizes = ((width, height), *[(-(-width // 2), -(-height // 2))] * 2)
    y, u, v = (_rows(picture, number, *size) for number, size in enumerate(sizes))
    return None if y is None or u is None or v is None else PicturePlanes(y, u, v)


def _rows(picture: av.VideoFrame, number: int, width: int, height: int) -> UInt8Array | None:
    """View of a plane's samples uint8 [height, width]; None if it is stored bottom up."""
    plane = picture.planes[number]
    if plane.line_size < width:
        return None
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]
