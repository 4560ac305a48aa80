"""A video of the masks in step with the source: upright, times from 0, the source's colors, its audio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from codec.decode.colors import Colors, colors_of, to_planes
from codec.types import VideoInfo
from service.writers.video.audio_track import AudioTrack, add_audio
from service.writers.video.source_sound import SourceSound
from service.writers.video.source_video import open_source
from service.writers.writer import Target, opened
from vos.types import FrameMask


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a video is encoded.

    Attributes:
        container: FFmpeg's name of the container.
        encoder: FFmpeg's name of the encoder.
        pixel_format: Format of the encoded pictures.
        options: Options of the encoder.
        is_deep: Whether pictures are drawn with 16 bits per sample.
        tag: Tag of the codec in the container; None for the usual one.
        colors: Colors of the video; the source's by default.
    """

    container: str
    encoder: str
    pixel_format: str
    options: Mapping[str, str] = field(default_factory=dict)
    is_deep: bool = False
    tag: str | None = None
    colors: Colors | None = None


class FilmWriter(ABC):
    """Encodes in step with the masks; decodes the source a second time, at full size.

    Args:
        source: The video that is segmented, or a folder of pictures.
        target: File to write.
        info: Size and orientation of the video.
        sound: The video a second time, if it is an open file.

    Attributes:
        notes: What was changed or lost, in plain words; complete after `close`.
    """

    noun: str
    """What the notes call this video."""

    def __init__(self, source: Path | BinaryIO, target: Target, info: VideoInfo, sound: BinaryIO | None = None) -> None:
        self.notes: list[str] = []
        self._info = info
        self._reformatter = VideoReformatter()
        self._first: FrameMask | None = None
        self._origin = Fraction(0)
        self._last_pts: int | None = None
        with ExitStack() as stack:
            self._pictures = open_source(source, info.average_rate)
            stack.callback(self._pictures.close)
            self._sound = SourceSound(sound or source, self._pictures.timeline)
            stack.callback(self._sound.close)
            self._encoding = self._choose_encoding(self._pictures.first())
            self._colors = self._encoding.colors or colors_of(self._pictures.first())
            container = self._encoding.container
            # A start after 0 is written in units of the whole film: milliseconds by default, too coarse for pts.
            is_mov = container in ("mp4", "mov")
            scale = {"movie_timescale": str(self._pictures.time_base.denominator)} if is_mov else {}
            file = stack.enter_context(opened(target))
            self._out = stack.enter_context(av.open(file, "w", format=container, options=scale))
            self._video = self._add_video()
            self._audio = self._add_audio()
            self._closing = stack.pop_all()

    def write(self, frame: FrameMask) -> None:
        """Draw and encode one frame."""
        source = self._pictures.picture(frame.index)
        time = Fraction(source.time)
        if self._first is None:
            self._first, self._origin = frame, time if frame.index else Fraction(0)
        drawn = self._draw(source.frame, frame)
        drawn.pts, drawn.duration, drawn.time_base = self._pts(time), source.frame.duration, self._pictures.time_base
        self._copy_audio(until=source.time)
        self._out.mux(self._video.encode(drawn))

    def close(self) -> None:
        """Write what is left in the encoder, and the audio up to the end of the last frame."""
        with self._closing.pop_all():
            if self._first is not None:
                self._out.mux(self._video.encode(None))
                self._copy_audio(until=self._pictures.next_time())
                if self._audio is not None:
                    self._audio.close()
                self._first = None
                if self._sound.dropped:
                    self.notes.append(
                        f"the {self.noun}'s sound has gaps where its clock jumps and that of the pictures not"
                    )

    @abstractmethod
    def _choose_encoding(self, picture: av.VideoFrame) -> Encoding:
        """Return how a video whose first picture is `picture` is encoded; note what is lost."""

    @abstractmethod
    def _draw(self, picture: av.VideoFrame, frame: FrameMask) -> av.VideoFrame:
        """Return the picture to encode, of the display size or padded to even sides."""

    def _upright(self, picture: av.VideoFrame) -> npt.NDArray[Any]:
        """Return a picture of the source as YCbCr [3, height, width] in display size and the video's colors."""
        size = self._info.coded_width, self._info.coded_height
        coded = to_planes(picture, size, self._colors, self._reformatter, deep=self._encoding.is_deep)
        return np.stack([self._info.to_display(plane) for plane in coded])

    def _add_video(self) -> VideoStream:
        info, encoding, time_base, colors = self._info, self._encoding, self._pictures.time_base, self._colors
        stream = self._out.add_stream(encoding.encoder, rate=info.average_rate or 25, options=dict(encoding.options))
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        sides = info.display_width, info.display_height
        context.width, context.height = (n + n % 2 for n in sides) if "420" in encoding.pixel_format else sides
        context.pix_fmt = encoding.pixel_format
        context.time_base = stream.time_base = time_base
        context.colorspace, context.color_range = colors.matrix, colors.color_range
        context.color_primaries, context.color_trc = colors.primaries, colors.transfer
        if encoding.tag is not None:
            context.codec_tag = encoding.tag
        aspect = info.sample_aspect_ratio
        context.sample_aspect_ratio = 1 / aspect if info.rotation in (90, 270) and aspect else aspect
        return stream

    def _add_audio(self) -> AudioTrack | None:
        source, container = self._sound.stream, self._encoding.container
        track = None if source is None else add_audio(self._out, source, container)
        if source is not None and track is None:
            codec = source.codec_context.name
            self.notes.append(f"the {self.noun} has no sound: {codec} does not fit into {container}")
        return track

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
            self._audio.write(packet, time - self._origin, from_start=not self._first.index)


def even(planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Repeat the last row and column of an odd picture [..., h, w]: 4:2:0 has one color sample per 2 x 2 pixels."""
    height, width = planes.shape[-2:]
    unpadded = [(0, 0)] * (planes.ndim - 2)
    return np.pad(planes, (*unpadded, (0, height % 2), (0, width % 2)), mode="edge")
