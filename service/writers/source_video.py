"""The source a second time, in step with the masks: pictures at full size, and audio as packets."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import av
from av.audio.stream import AudioStream

from codec.decode.decoder import PresentedPicture, VideoDecoder
from codec.demux.picture_files import find_pictures
from codec.demux.source import VideoFile
from codec.errors import CodecError
from service.errors import RunError

if TYPE_CHECKING:
    from av.packet import Packet

    AudioPacket: TypeAlias = Packet[AudioStream]  # generic in the stubs only


class SourcePictures(Protocol):
    """Pictures of a source from front to back.

    Attributes:
        time_base: Unit of the pictures' pts.
    """

    time_base: Fraction

    def picture(self, index: int) -> PresentedPicture:
        """Return the picture with this presentation index; indices must ascend.

        Raises:
            RunError: The source ended before it.
        """

    def next_time(self) -> float | None:
        """Return the seconds at which the picture after the latest one begins; None if there is none."""

    def close(self) -> None:
        """Close the source."""


def open_source(path: Path, rate: Fraction | None) -> SourcePictures:
    """Open a video file, or a folder of pictures with a number of pictures per second."""
    return FolderPictures(path, rate or Fraction(24)) if path.is_dir() else FilePictures(path)


class FilePictures:
    """Decodes the video stream of a file."""

    def __init__(self, path: Path) -> None:
        self._file = VideoFile(path)
        self._decoder = VideoDecoder(self._file, vectors=False)
        self._pictures = self._decoder.pictures()
        self.time_base: Fraction = self._file.stream.time_base or Fraction(1, 90_000)

    def picture(self, index: int) -> PresentedPicture:
        """Decode up to the picture with this presentation index."""
        for picture in self._pictures:
            self._decoder.pop_sent()
            if picture.index == index:
                return picture
        raise RunError(f"frame {index} has a mask, but the overlay's own decode of the video ended before it")

    def next_time(self) -> float | None:
        """Decode one more picture and return its time."""
        try:
            following = next(self._pictures, None)
        except CodecError:
            return None
        return None if following is None else following.time

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class FolderPictures:
    """Reads the picture files of a folder."""

    def __init__(self, folder: Path, rate: Fraction) -> None:
        self._pictures = enumerate(find_pictures(folder))
        self._rate = rate
        self.time_base = 1 / rate

    def picture(self, index: int) -> PresentedPicture:
        """Read up to the picture with this index."""
        for number, picture in self._pictures:
            if number == index:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = index
                return PresentedPicture(frame, index, float(index / self._rate), None)
        raise RunError(f"frame {index} has a mask, but the folder has no further picture")

    def next_time(self) -> float | None:
        """None: there is no audio to end with the last picture."""
        return None

    def close(self) -> None:
        """Nothing is open between pictures."""


class SourceAudio:
    """Reads the packets of the first audio stream.

    Attributes:
        stream: The audio stream; None if the source has none.
    """

    def __init__(self, path: Path) -> None:
        self._file = None if path.is_dir() else VideoFile(path)
        streams = self._file.container.streams.audio if self._file else ()
        self.stream: AudioStream | None = next(iter(streams), None)
        self._packets = self._read()
        self._next: AudioPacket | None = next(self._packets, None)

    def packets_before(self, until: float | None) -> Iterator[AudioPacket]:
        """Yield the remaining packets that begin before `until` seconds; None: all of them."""
        while self._next is not None and (until is None or _seconds(self._next) < until):
            yield self._next
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _read(self) -> Iterator[AudioPacket]:
        if self._file is None or self.stream is None:
            return
        for packet in self._file.container.demux(self.stream):
            if packet.pts is not None and packet.dts is not None:
                yield packet


def _seconds(packet: AudioPacket) -> float:
    return float((packet.pts or 0) * packet.time_base)
