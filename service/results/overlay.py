"""The source as a video with the masks drawn over it: the source's frame times, its audio copied, upright."""

from __future__ import annotations

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
from service.results.blend import blend
from service.results.source_video import SourceVideo
from vos.types import FrameMask

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
ENCODER_OPTIONS = {"preset": "veryfast", "crf": "20"}


class OverlayWriter:
    """Encodes H.264, yuv420p, in step with the masks; decodes the source a second time, at full size.

    Args:
        source: The video that is segmented.
        path: File to write; its suffix chooses the container.
        info: Size and orientation of the video.

    Attributes:
        notes: What could not be kept, in plain words.

    Raises:
        UsageError: The suffix names no container that is supported.
    """

    def __init__(self, source: Path, path: Path, info: VideoInfo) -> None:
        container = CONTAINERS.get(path.suffix.lower())
        if container is None:
            raise UsageError(f"the overlay is {path.name!r}; allowed endings: {', '.join(CONTAINERS)}")
        self.notes: list[str] = []
        self._info = info
        self._source = SourceVideo(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A start after 0 is written in units of the whole film, milliseconds unless told otherwise: too coarse for pts.
        scale = {} if container == "matroska" else {"movie_timescale": str(self._source.time_base.denominator)}
        self._out = av.open(str(path), "w", format=container, options=scale)
        self._video = self._add_video()
        self._audio = self._add_audio(container)
        self._first: FrameMask | None = None
        self._last_pts: int | None = None
        self._closed = False

    def write(self, frame: FrameMask) -> None:
        """Draw and encode one frame."""
        if self._first is None:
            self._first = frame
        source = self._source.picture(frame.index)
        upright = np.asarray(self._info.to_display(source.to_ndarray(format="rgb24")), np.uint8)
        drawn = VideoFrame.from_ndarray(_even(blend(upright, frame.labels)), "rgb24")
        drawn.pts, drawn.duration, drawn.time_base = self._pts(frame), source.duration, self._source.time_base
        self._copy_audio(until=frame.time)
        self._out.mux(self._video.encode(drawn))

    def close(self) -> None:
        """Write what the encoder still holds and the audio up to the last frame's end."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._first is not None:
                self._out.mux(self._video.encode(None))
                self._copy_audio(until=self._source.next_time())
        finally:
            self._out.close()
            self._source.close()

    def _add_video(self) -> VideoStream:
        info, rate = self._info, self._info.average_rate
        stream = self._out.add_stream("libx264", rate=rate or 25, options=dict(ENCODER_OPTIONS))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = (n + n % 2 for n in (info.display_width, info.display_height))
        context.pix_fmt = "yuv420p"
        context.time_base = stream.time_base = self._source.time_base
        aspect = info.sample_aspect_ratio
        context.sample_aspect_ratio = 1 / aspect if info.rotation in (90, 270) and aspect else aspect
        return stream

    def _add_audio(self, container: str) -> AudioStream | None:
        source = self._source.audio
        if source is None:
            return None
        if not _fits(source, container):
            self.notes.append(f"the overlay has no sound: {source.codec_context.name} cannot be copied to {container}")
            return None
        stream = self._out.add_stream_from_template(source)
        assert isinstance(stream, AudioStream)
        return stream

    def _pts(self, frame: FrameMask) -> int:
        """The source's pts, from 0 where the masks do not begin with the video; always ascending, as encoders want."""
        first, time_base = self._first, self._source.time_base
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
        """Copy the audio from the first mask's time up to `until` seconds of the source (None: all that was read)."""
        if self._audio is None or self._first is None:
            return
        shift = self._first.time if self._first.index else 0.0
        for packet in self._source.take_audio(until):
            assert packet.pts is not None
            assert packet.dts is not None
            ticks = round(Fraction(shift) / packet.time_base)
            packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
            if packet.pts >= 0 or not self._first.index:
                packet.stream = self._audio
                self._out.mux(packet)


def _even(picture: UInt8Array) -> UInt8Array:
    """Repeat the last row and column of an odd picture [h, w, 3]: yuv420p has one colour sample for 2 x 2 pixels."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _fits(audio: AudioStream, container: str) -> bool:
    """Whether the container takes this audio as it is, found by writing a header into memory."""
    try:
        with av.open(BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(audio)
            assert isinstance(trial, OutputContainer)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True
