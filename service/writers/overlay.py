"""The source as an upright video with the masks drawn over it: times from 0, the source's colors, its audio copied."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from codec.decode.colors import bits_of, colors_of, drawn_in, from_planes, to_planes
from codec.types import VideoInfo
from service.errors import UsageError
from service.writers.blend import OPACITY, blend, outline_colors
from service.writers.palette import overlay_palette
from service.writers.source_sound import SourceSound
from service.writers.source_video import open_source
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


class OverlayWriter:
    """Encodes in step with the masks; decodes the source a second time, at full size.

    H.264 with 8 bits per sample; HEVC with 10 for HDR. Matrix, range, primaries and transfer are the source's.

    Args:
        source: The video that is segmented, or a folder of pictures.
        path: File to write; its suffix chooses the container.
        info: Size and orientation of the video.
        look: How masks are drawn.

    Attributes:
        notes: What was changed or lost, in plain words; complete after `close`.
    """

    def __init__(self, source: Path, path: Path, info: VideoInfo, look: Look | None = None) -> None:
        container = container_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.notes: list[str] = []
        self._info = info
        self._look = look or Look()
        self._first: FrameMask | None = None
        self._origin = Fraction(0)
        self._last_pts: int | None = None
        with ExitStack() as stack:
            self._pictures = open_source(source, info.average_rate)
            stack.callback(self._pictures.close)
            self._set_colors(self._pictures.first())
            self._sound = SourceSound(source, self._pictures.timeline)
            stack.callback(self._sound.close)
            # A start after 0 is written in units of the whole film: milliseconds by default, too coarse for pts.
            scale = {} if container == "matroska" else {"movie_timescale": str(self._pictures.time_base.denominator)}
            self._out = stack.enter_context(av.open(str(path), "w", format=container, options=scale))
            self._video = self._add_video(container)
            self._audio = self._add_audio(container)
            self._closing = stack.pop_all()

    def write(self, frame: FrameMask) -> None:
        """Draw and encode one frame."""
        source = self._pictures.picture(frame.index)
        time = Fraction(source.time)
        if self._first is None:
            self._first, self._origin = frame, time if frame.index else Fraction(0)
        size = self._info.coded_width, self._info.coded_height
        coded = to_planes(source.frame, size, self._colors, self._to_planes, deep=self._is_deep)
        upright = np.stack([self._info.to_display(plane) for plane in coded])
        blended = blend(upright, frame.labels, self._tint, self._outline, self._look.opacity)
        drawn = from_planes(_even(blended), self._colors, self._from_planes, self._pixel_format)
        drawn.pts, drawn.duration, drawn.time_base = self._pts(time), source.frame.duration, self._pictures.time_base
        self._copy_audio(until=source.time)
        self._out.mux(self._video.encode(drawn))

    def close(self) -> None:
        """Write what is left in the encoder, and the audio up to the end of the last frame."""
        with self._closing.pop_all():
            if self._first is not None:
                self._out.mux(self._video.encode(None))
                self._copy_audio(until=self._pictures.next_time())
                self._first = None
                if self._sound.dropped:
                    self.notes.append("the overlay's sound has gaps where its clock jumps and that of the pictures not")

    def _set_colors(self, picture: av.VideoFrame) -> None:
        self._colors = colors_of(picture)
        self._is_deep = self._colors.is_hdr
        self._pixel_format = "yuv420p10le" if self._is_deep else "yuv420p"
        if self._is_deep:
            self.notes.append("the video is HDR, and so is the overlay: HEVC with 10 bits per sample")
        elif bits_of(picture) > 8:
            self.notes.append(f"the overlay has 8 bits per sample, the video {bits_of(picture)}")
        palette = overlay_palette(self._look.colors)
        self._tint = drawn_in(palette, self._colors, deep=self._is_deep)
        self._outline = drawn_in(outline_colors(palette), self._colors, deep=self._is_deep)
        self._to_planes, self._from_planes = VideoReformatter(), VideoReformatter()

    def _add_video(self, container: str) -> VideoStream:
        info, time_base, colors = self._info, self._pictures.time_base, self._colors
        encoder = "libx265" if self._is_deep else "libx264"
        stream = self._out.add_stream(encoder, rate=info.average_rate or 25, options=dict(ENCODER_OPTIONS[encoder]))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = (n + n % 2 for n in (info.display_width, info.display_height))
        context.pix_fmt = self._pixel_format
        context.time_base = stream.time_base = time_base
        context.colorspace, context.color_range = colors.matrix, colors.color_range
        context.color_primaries, context.color_trc = colors.primaries, colors.transfer
        if self._is_deep and container != "matroska":
            context.codec_tag = "hvc1"  # the only tag that QuickTime and Safari play
        aspect = info.sample_aspect_ratio
        context.sample_aspect_ratio = 1 / aspect if info.rotation in (90, 270) and aspect else aspect
        return stream

    def _add_audio(self, container: str) -> AudioStream | None:
        source = self._sound.stream
        if source is None:
            return None
        if not _fits(source, container):
            self.notes.append(f"the overlay has no sound: {source.codec_context.name} does not fit into {container}")
            return None
        stream = self._out.add_stream_from_template(source)
        assert isinstance(stream, AudioStream)
        return stream

    def _pts(self, time: Fraction) -> int:
        """Return the frame's time in units of the time base; ascending, as encoders need."""
        pts = round((time - self._origin) / self._pictures.time_base)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        return pts

    def _copy_audio(self, until: float | None) -> None:
        """Copy the audio from the first mask's time to `until` seconds of the source; None: to its end."""
        if self._audio is None or self._first is None:
            return
        for packet, time in self._sound.packets_before(until):
            pts = round((time - self._origin) / packet.time_base)
            if pts >= 0 or not self._first.index:
                packet.dts = pts + (packet.dts or 0) - (packet.pts or 0)
                packet.pts, packet.stream = pts, self._audio
                self._out.mux(packet)


def _even(planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Repeat the last row and column of an odd picture [3, h, w]: yuv420p has one color sample per 2 x 2 pixels."""
    height, width = planes.shape[1:]
    return np.pad(planes, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")


def _fits(audio: AudioStream, container: str) -> bool:
    """Whether the container accepts this audio unchanged, found by writing a header to memory."""
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(audio)
            assert isinstance(trial, OutputContainer)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
