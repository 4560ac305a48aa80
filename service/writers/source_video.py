"""The source a second time, in step with the masks: its pictures at full size, and its audio as packets."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from av.audio.stream import AudioStream

from codec.decode.decoder import PresentedPicture, VideoDecoder
from codec.demux.source import VideoFile
from codec.errors import CodecError
from service.errors import RunError

if TYPE_CHECKING:
    from av.packet import Packet

    AudioPacket: TypeAlias = Packet[AudioStream]  # generic in the stubs only


class SourcePictures:
    """Decodes the video stream from front to back.

    Attributes:
        time_base: Unit of the pictures' pts.
    """

    def __init__(self, path: Path) -> None:
        self._file = VideoFile(path)
        self._decoder = VideoDecoder(self._file, vectors=False)
        self._pictures = self._decoder.pictures()
        self.time_base: Fraction = self._file.stream.time_base or Fraction(1, 90_000)

    def picture(self, index: int) -> PresentedPicture:
        """The picture with this presentation index; indices must ascend.

        Raises:
            RunError: The video ended before it.
        """
        for picture in self._pictures:
            self._decoder.pop_sent()
            if picture.index == index:
                return picture
        raise RunError(f"frame {index} has a mask, but the overlay's own decode of the video ended before it")

    def next_time(self) -> float | None:
        """Seconds at which the picture after the latest one begins; None if there is none."""
        try:
            following = next(self._pictures, None)
        except CodecError:
            return None
        return None if following is None else following.time

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SourceAudio:
    """Reads the packets of the first audio stream.

    Attributes:
        stream: The audio stream; None if the video has none.
    """

    def __init__(self, path: Path) -> None:
        self._file = VideoFile(path)
        self.stream: AudioStream | None = next(iter(self._file.container.streams.audio), None)
        self._packets = self._read()
        self._next: AudioPacket | None = next(self._packets, None)

    def take(self, until: float | None) -> Iterator[AudioPacket]:
        """The packets not yet taken that begin before `until` seconds; None: all to the end."""
        while self._next is not None and (until is None or _seconds(self._next) < until):
            yield self._next
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> Iterator[AudioPacket]:
        if self.stream is None:
            return
        for packet in self._file.container.demux(self.stream):
            if packet.pts is not None and packet.dts is not None:
                yield packet


def _seconds(packet: AudioPacket) -> float:
    return float((packet.pts or 0) * packet.time_base)
