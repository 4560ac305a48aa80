"""A luma matte: white objects on black, as editing programs take them for masks of layers."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from codec.decode.colors import BT709, Colors, from_planes
from codec.types import VideoInfo
from service.writers.video.film import Encoding, FilmWriter, even
from service.writers.writer import Target
from vos.types import FrameMask

_BLACK, _WHITE, _NO_COLOR = 16, 235, 128


class MatteWriter(FilmWriter):
    """H.264 in MP4, BT.709, limited range. All objects together are white.

    Args:
        source: The video that is segmented, or a folder of pictures.
        target: File to write.
        info: Size and orientation of the video.
        sound: The video a second time, if it is an open file.
    """

    noun = "matte"

    def __init__(self, source: Path | BinaryIO, target: Target, info: VideoInfo, sound: BinaryIO | None = None) -> None:
        self._from_planes = VideoReformatter()
        super().__init__(source, target, info, sound)

    def _choose_encoding(self, picture: av.VideoFrame) -> Encoding:  # noqa: ARG002 - a matte has no source colors
        colors = Colors(BT709, BT709, BT709, is_full_range=False)
        return Encoding("mp4", "libx264", "yuv420p", {"preset": "veryfast", "crf": "12"}, colors=colors)

    def _draw(self, picture: av.VideoFrame, frame: FrameMask) -> av.VideoFrame:  # noqa: ARG002
        planes = np.full((3, *frame.labels.shape), _NO_COLOR, np.uint8)
        planes[0] = np.where(frame.labels > 0, _WHITE, _BLACK)
        return from_planes(even(planes), self._colors, self._from_planes, self._encoding.pixel_format)
