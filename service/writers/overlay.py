"""The source as an upright video with the masks drawn over it, at the source's frame times, with its audio copied."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from codec.types import UInt8Array, VideoInfo
from service.errors import UsageError
from service.writers.blend import blend
from service.writers.source_video import SourceAudio, open_source
from vos.types import FrameMask

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
ENCODER_OPTIONS = {"preset": "veryfast", "crf": "20"}


def container_of(path: Path) -> str:
    """Return FFmpeg's name of the container that the file name's suffix stands for.

    Raises:
        UsageError: The suffix is not one of `CONTAINERS`.
    """
    if path.suffix.lower() not in CONTAINERS:
        raise UsageError(f"the overlay is {path.name!r}; allowed endings: {', '.join(CONTAINERS)}")
    return CONTAINERS[path.suffix.lower()]


class OverlayWriter:
    """Encodes H.264, yuv420p, in step with the masks; decodes the source a second time, at full size.

    Args:
        source: The video that is segmented, or a folder of pictures.
        path: File to write; its suffix chooses the container.
        info: Size and orientation of the video.

    Attributes:
        notes: What was lost, in plain words.
    """

    def __init__(self, source: Path, path: Path, info: VideoInfo) -> None:
        container = container_of(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.notes: list[str] = []
        self._info = info
        self._first: FrameMask | None = None
        self._last_pts: int | None = None
        with ExitStack() as stack:
            self._pictures = open_source(source, info.average_rate)
            stack.callback(self._pictures.close)
            self._sound = SourceAudio(source)
            stack.callback(self._sound.close)
            # A start after 0 is written in units of the whole film: milliseconds by default, too coarse for pts.
            scale = {} if container == "matroska" else {"movie_timescale": str(self._pictures.time_base.denominator)}
            self._out = stack.enter_context(av.open(str(path), "w", format=container, options=scale))
            self._video = self._add_video()
            self._audio = self._add_audio(container)
            self._closing = stack.pop_all()

    def write(self, frame: FrameMask) -> None:
        """Draw and encode one frame."""
        if self._first is None:
            self._first = frame
        source = self._pictures.picture(frame.index).frame
        coded = source.to_ndarray(format="rgb24", width=self._info.coded_width, height=self._info.coded_height)
        upright = np.asarray(self._info.to_display(coded), np.uint8)
        drawn = VideoFrame.from_ndarray(_even(blend(upright, frame.labels)), "rgb24")
        drawn.pts, drawn.duration, drawn.time_base = self._pts(frame), source.duration, self._pictures.time_base
        self._copy_audio(until=frame.time)
        self._out.mux(self._video.encode(drawn))

    def close(self) -> None:
        """Write what is left in the encoder, and the audio up to the end of the last frame."""
        with self._closing.pop_all():
            if self._first is not None:
                self._out.mux(self._video.encode(None))
                self._copy_audio(until=self._pictures.next_time())
                self._first = None

    def _add_video(self) -> VideoStream:
        info, time_base = self._info, self._pictures.time_base
        stream = self._out.add_stream("libx264", rate=info.average_rate or 25, options=dict(ENCODER_OPTIONS))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = (n + n % 2 for n in (info.display_width, info.display_height))
        context.pix_fmt = "yuv420p"
        context.time_base = stream.time_base = time_base
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

    def _pts(self, frame: FrameMask) -> int:
        """Return the source's pts, from 0 where masks begin after the first frame; ascending, as encoders need."""
        first, time_base = self._first, self._pictures.time_base
        assert first is not None
        if frame.pts is not None and first.pts is not None:
            pts = frame.pts - (first.pts if first.index else 0)
        else:
            pts = round(Fraction(frame.time - (first.time if first.index else 0)) / time_base)
        if self._last_pts is not None:
            pts = max(pts, self._last_pts + 1)
        self._last_pts = pts
        return pts

    def _copy_audio(self, until: float | None) -> None:
        """Copy the audio from the first mask's time to `until` seconds of the source; None: to its end."""
        first = self._first
        if self._audio is None or first is None:
            return
        for packet in self._sound.packets_before(until):
            ticks = round(Fraction(first.time if first.index else 0) / packet.time_base)
            packet.pts, packet.dts = (packet.pts or 0) - ticks, (packet.dts or 0) - ticks
            if packet.pts >= 0 or not first.index:
                packet.stream = self._audio
                self._out.mux(packet)


def _even(picture: UInt8Array) -> UInt8Array:
    """Repeat the last row and column of an odd picture [h, w, 3]: yuv420p has one color sample per 2 x 2 pixels."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


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
