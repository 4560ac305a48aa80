"""Decoded pictures at analysis size: luma at once, RGB when asked for, each in one swscale step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from codec.types import UInt8Array

_LUMA_PLANE = frozenset(
    {
        *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "gray", "nv12", "nv21"),
        *("yuvj420p", "yuvj422p", "yuvj444p", "yuvj440p", "yuva420p", "yuva422p", "yuva444p"),
    }
)
"""Formats whose first plane is 8-bit luma."""

_ONE, _BLEND = np.ones(1, np.float32), np.array((0.25, 0.5, 0.25), np.float32)


def analysis_size(width: int, height: int, short_side: int, max_side: int | None) -> tuple[int, int]:
    """Size (width, height) to analyse a picture at: never larger than the picture, aspect kept.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        short_side: Most pixels of the shorter side.
        max_side: Most pixels of the longer side, None for any.
    """
    scale = min(1.0, short_side / min(width, height))
    if max_side is not None:
        scale = min(scale, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


class Scaler:
    """Brings decoded pictures to one analysis size (width, height), whatever size and format they have."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._to_luma = VideoReformatter()
        self._to_rgb = VideoReformatter()
        self._rgb_lock = threading.Lock()

    def luma(self, picture: av.VideoFrame) -> UInt8Array:
        """Luma as uint8 [height, width]; the range (limited or full) stays the stream's own.

        The two fields of an interlaced picture show different times, as a comb; they are blended (1 2 1 down the
        columns), so that one vector can predict both.
        """
        luma = self._luma(picture)
        return np.asarray(cv2.sepFilter2D(luma, -1, _ONE, _BLEND), np.uint8) if picture.interlaced_frame else luma

    def _luma(self, picture: av.VideoFrame) -> UInt8Array:
        width, height = self.size
        if (picture.width, picture.height) == self.size and picture.format.name in _LUMA_PLANE:
            plane = picture.planes[0]
            if plane.line_size >= width:
                rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
                return rows[:height, :width].copy()
        # swscale takes grey for full range and BT.601; naming the same twice keeps it from converting luma to that.
        grey = self._to_luma.reformat(
            picture,
            width,
            height,
            "gray",
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG,
            src_colorspace=Colorspace.ITU601,
            dst_colorspace=Colorspace.ITU601,
            threads=1,
        )
        return np.ascontiguousarray(grey.to_ndarray(), np.uint8)

    def rgb(self, picture: av.VideoFrame) -> Callable[[], UInt8Array]:
        """A function that makes the RGB picture, uint8 [height, width, 3]; it keeps the decoded picture in memory."""

        def make() -> UInt8Array:
            with self._rgb_lock:
                scaled = self._to_rgb.reformat(picture, *self.size, "rgb24", threads=1)
            return cast(UInt8Array, scaled.to_ndarray())

        return make
