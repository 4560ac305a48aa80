"""The source as an upright video with the masks drawn over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import av
from av.video.reformatter import VideoReformatter

from codec.decode.colors import bits_of, colors_of, drawn_in, from_planes
from codec.types import VideoInfo
from service.errors import UsageError
from service.writers.palette import overlay_palette
from service.writers.video.blend import OPACITY, blend, outline_colors
from service.writers.video.film import Encoding, FilmWriter, even
from service.writers.writer import Target
from vos.types import FrameMask

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
ENCODER_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libx265": {"preset": "veryfast", "crf": "20", "x265-params": "log-level=error"},
}
"""Encoder -> its options. HDR needs 10 bits, which players decode in HEVC but not in H.264."""


def container_of(path: Path) -> str:
    """Return FFmpeg's name of the container that the file name's suffix stands for.

    Raises:
        UsageError: The suffix is not one of `CONTAINERS`.
    """
    if path.suffix.lower() not in CONTAINERS:
        raise UsageError(f"the overlay is {path.name!r}; allowed endings: {', '.join(CONTAINERS)}")
    return CONTAINERS[path.suffix.lower()]


@dataclass(frozen=True, slots=True)
class Look:
    """How masks are drawn.

    Attributes:
        opacity: Share of an object's color inside the object, 0 to 1.
        colors: Object id -> RGB color, instead of the palette's.
    """

    opacity: float = OPACITY
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)


class OverlayWriter(FilmWriter):
    """H.264 with 8 bits per sample; HEVC with 10 for HDR. Matrix, range, primaries and transfer are the source's.

    Args:
        source: The video that is segmented, or a folder of pictures.
        target: File to write. The suffix of a path chooses the container; an open file becomes an MP4.
        info: Size and orientation of the video.
        look: How masks are drawn.
        sound: The video a second time, if it is an open file.
    """

    noun = "overlay"

    def __init__(
        self,
        source: Path | BinaryIO,
        target: Target,
        info: VideoInfo,
        look: Look | None = None,
        sound: BinaryIO | None = None,
    ) -> None:
        self._container = container_of(target) if isinstance(target, Path) else "mp4"
        self._look = look or Look()
        self._from_planes = VideoReformatter()
        super().__init__(source, target, info, sound)
        palette = overlay_palette(self._look.colors)
        self._tint = drawn_in(palette, self._colors, deep=self._encoding.is_deep)
        self._outline = drawn_in(outline_colors(palette), self._colors, deep=self._encoding.is_deep)

    def _choose_encoding(self, picture: av.VideoFrame) -> Encoding:
        if colors_of(picture).is_hdr:
            self.notes.append("the video is HDR, and so is the overlay: HEVC with 10 bits per sample")
            # The only tag that QuickTime and Safari play.
            tag = None if self._container == "matroska" else "hvc1"
            options = ENCODER_OPTIONS["libx265"]
            return Encoding(self._container, "libx265", "yuv420p10le", options, is_deep=True, tag=tag)
        if bits_of(picture) > 8:
            self.notes.append(f"the overlay has 8 bits per sample, the video {bits_of(picture)}")
        return Encoding(self._container, "libx264", "yuv420p", ENCODER_OPTIONS["libx264"])

    def _draw(self, picture: av.VideoFrame, frame: FrameMask) -> av.VideoFrame:
        blended = blend(self._upright(picture), frame.labels, self._tint, self._outline, self._look.opacity)
        return from_planes(even(blended), self._colors, self._from_planes, self._encoding.pixel_format)
