"""A second, plain decode of the source, in step with the masks: pictures at full size, and the audio's packets."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import av
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from codec.container import OpenFile
from service.errors import RunError

if TYPE_CHECKING:
    AudioPacket: TypeAlias = Packet[AudioStream]  # generic in the stubs only


class SourceVideo:
    """Reads a video once from front to back.

    Attributes:
        video: The video stream that is decoded.
        audio: The audio stream whose packets are passed on, None if there is none.
        time_base: Unit of the frames' pts.
    """

    def __init__(self, path: Path) -> None:
        self._file = OpenFile(path)
        self.video: VideoStream = self._file.stream
        self.video.thread_type = "AUTO"
        self.audio: AudioStream | None = next(iter(self._file.container.streams.audio), None)
        self.time_base: Fraction = self.video.time_base or Fraction(1, 90_000)
        self._packets: list[AudioPacket] = []
        self._pictures = self._decode()
        self._next = 0

    def picture(self, index: int) -> VideoFrame:
        """The frame with this presentation index; indices must ascend.

        Raises:
            RunError: This decode ended before it.
        """
        for picture in self._pictures:
            self._next += 1
            if self._next > index:
                return picture
        raise RunError(f"the overlay's own decode of the video ended at frame {self._next}; frame {index} was expected")

    def take_audio(self, until: float | None) -> list[AudioPacket]:
        """The audio packets not yet taken that begin before `until` seconds (None: all) and were passed on the way."""
        taken = [p for p in self._packets if until is None or _seconds(p) < until]
        self._packets = self._packets[len(taken) :]
        return taken

    def next_time(self) -> float | None:
        """Seconds at which the frame after the latest one begins; None if there is none, then all audio was read."""
        try:
            following = next(self._pictures, None)
        except av.FFmpegError:
            return None
        return None if following is None else following.time

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _decode(self) -> Iterator[VideoFrame]:
        streams = [self.video] if self.audio is None else [self.video, self.audio]
        for packet in self._file.container.demux(streams):
            if packet.stream is self.audio:
                if packet.pts is not None and packet.dts is not None:
                    self._packets.append(cast("AudioPacket", packet))
                continue
            for picture in packet.decode():
                assert isinstance(picture, VideoFrame)
                yield picture


def _seconds(packet: AudioPacket) -> float:
    return float((packet.pts or 0) * packet.time_base)
