"""Decode a file's video stream once from start to end, and tell a complete stream from a broken one."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from codec.decode.packet_info import PacketInfo, PacketParser
from codec.decode.seeking import Timestamps, decode_range
from codec.decode.timeline import timeline_of
from codec.demux.packets import Packets
from codec.demux.source import VideoFile, check_size, max_pixels, reason_of
from codec.demux.truncation import is_packet_truncated, truncation_reason
from codec.errors import BrokenStreamError, CodecError, EncryptedError, NoFramesError, UnsupportedSizeError


@dataclass(frozen=True, slots=True, eq=False)
class PresentedPicture:
    """A decoded picture in presentation order.

    Attributes:
        frame: The picture.
        index: Position in presentation order, from 0.
        time: Presentation time in seconds on the clock of `codec.decode.timeline`.
        packet: Description of the packet it was decoded from, None if unknown.
    """

    frame: av.VideoFrame
    index: int
    time: float
    packet: PacketInfo | None


class VideoDecoder:
    """Decodes a file's video stream once from start to end.

    Args:
        file: The opened file. `close` closes it, too.
        vectors: Whether to export motion vectors. Decoding then uses a single thread.

    Attributes:
        timeline: Where pictures lie in time.
    """

    def __init__(self, file: VideoFile, *, vectors: bool) -> None:
        self.file = file
        self._context = file.stream.codec_context
        self._context.copy_opaque = True
        self._context.thread_type = "AUTO"
        if vectors:
            self._context.options = self._context.options | {"flags2": "+export_mvs"}
        if vectors or self._context.name == "h264":
            # Frame threads corrupt exported vectors and hide the error at the end of a truncated H.264 stream; slice
            # threads turn off error concealment.
            self._context.thread_count = 1
        self._parser = PacketParser(self._context)
        self.timeline = timeline_of(file)
        self._sent: list[PacketInfo] = []
        self._count = 0
        self._starts_with_key = self._is_key_sent = False
        self._has_size = self._context.width > 0
        self._start_error: str | None = None
        self._break_reason: str | None = None
        self._is_encrypted = False
        self._timestamps: Timestamps | None = None
        self._first_time = Fraction(0)
        self._pictures = self._decode()
        self._peeked: list[PresentedPicture] = []

    def peek(self) -> PresentedPicture:
        """Return the first picture without consuming it.

        Raises:
            NoFramesError: The stream has no picture.
            EncryptedError: The stream is encrypted.
        """
        if not self._peeked:
            self._peeked.append(next(self._pictures))
        return self._peeked[0]

    def pictures(self) -> Iterator[PresentedPicture]:
        """Yield pictures in presentation order, exactly as FFmpeg decodes them.

        Raises:
            BrokenStreamError: Decoding stopped early. All pictures before the break have been yielded.
            UnsupportedSizeError: A later picture is too large. All before it have been yielded.
        """
        while self._peeked:
            yield self._peeked.pop()
        yield from self._pictures

    def times_of(self, stamps: Timestamps, timestamps: Timestamps) -> list[float]:
        """Return the presentation times in seconds of frames, given their timestamps and those of all frames.

        Call it after `peek`.
        """
        first, time_base = int(timestamps[0]), self.timeline.time_base
        return [float(self._first_time + (int(stamp) - first) * time_base) for stamp in stamps]

    def seek(self, index: int, timestamps: Timestamps) -> bool:
        """Continue at a key frame from which a frame and all after it decode exactly.

        `pictures` then begins with that key frame. Those before the wanted frame may lack references.

        Args:
            index: Position of the wanted frame in presentation order.
            timestamps: Timestamps of all frames (`codec.random_access.list_timestamps`).

        Returns:
            Whether there is such a place. If not, the decoder cannot be used any more.
        """
        self.peek()
        target = int(timestamps[index])
        if not self._starts_anew_at(target):
            found = decode_range(self.file, timestamps[index : index + 1])
            if found is None:
                return False
            target = found[0]
        self._pictures.close()
        self._peeked.clear()
        self.file.container.seek(target, stream=self.file.stream)
        self.file.packets = Packets(self.file.container, self.file.stream)
        self._parser, self._sent, self._timestamps = PacketParser(self._context), [], timestamps
        self._pictures = self._decode()
        return True

    def _starts_anew_at(self, target: int) -> bool:
        """Whether a seek leads to an H.264 frame from which all frames decode (IDR), so that none need be tried."""
        try:
            self.file.container.seek(target, stream=self.file.stream)
            packet = next(packet for packet in self.file.container.demux(self.file.stream))
        except (av.error.FFmpegError, StopIteration):
            return False
        is_before = packet.pts is not None and packet.pts <= target
        return is_before and bool(packet.size) and bool(PacketParser(self._context).parse(packet).is_idr)

    @property
    def delay(self) -> int:
        """Number of pictures that the decoder holds back to reorder them."""
        return max(self._context.has_b_frames, 0)

    @property
    def lost_packets(self) -> int:
        """Number of packets that came before the first picture's, in a stream that does not begin with a key frame."""
        first = self.peek().packet
        return first.number if first is not None and not self._starts_with_key else 0

    def pop_sent(self) -> list[PacketInfo]:
        """Packets sent to the decoder since the last call."""
        sent, self._sent = self._sent, []
        return sent

    def close(self) -> None:
        """End decoding and close the file.

        A generator left in the middle is ended by Python's search for cycles, in whichever thread that happens to run.
        There CPython 3.11 may close a generator that is being closed already, and crash.
        """
        self._pictures.close()
        self._peeked.clear()
        self.file.close()

    def _decode(self) -> Generator[PresentedPicture, None, None]:
        try:
            for packet in self._packets():
                yield from map(self._present, self._decode_packet(packet))
        except av.error.FFmpegError as error:
            if self._count:  # FFmpeg stops here, too
                raise self._failure(reason_of(error)) from error
            self._break_reason = reason_of(error)
        yield from self._drain()
        if self._is_encrypted:
            raise self._encryption_error()
        if reason := truncation_reason(self.file) or self._break_reason:
            raise self._failure(reason)
        if not self._count and self._start_error:
            without_key = "" if self._is_key_sent else "; no packet is marked as a key frame"
            raise self._failure(self._start_error + without_key)
        if not self._count:
            raise NoFramesError(f"{self.file.name} has a video stream without a single picture")

    def _decode_packet(self, packet: av.Packet[Any]) -> list[Any]:
        """Decode a packet. One before the first key frame may need pictures from before the cut, and then yields none.

        FFmpeg's own tools skip such packets, too.
        """
        if not self._context.is_open:  # this is the first packet
            self._starts_with_key = packet.is_keyframe
            if not packet.is_keyframe:
                self._context.thread_type = "SLICE"  # frame threads report an error some packets later
        self._is_key_sent |= packet.is_keyframe
        try:
            return packet.decode()
        except av.error.FFmpegError as error:
            if self._count or self._is_key_sent:
                raise
            self._start_error = reason_of(error)
            return []

    def _packets(self) -> Iterator[av.Packet[Any]]:
        """Yield packets up to the end or a break; a break sets `_break_reason` or `_is_encrypted`."""
        try:
            for packet in self.file.packets:
                if packet.has_sidedata("encryption_info"):
                    self._is_encrypted = True
                    return
                if is_packet_truncated(self.file, packet):
                    self._break_reason = "cut off: the file ends in the middle of a frame"
                    return
                if packet.size:
                    packet.opaque = self._parser.parse(packet)
                    self._sent.append(packet.opaque)
                yield packet
        except av.error.FFmpegError as error:
            self._break_reason = reason_of(error)

    def _drain(self) -> Iterator[PresentedPicture]:
        """Yield the pictures left in the decoder after a break. At the regular end it is drained already."""
        end: av.Packet[Any] = av.Packet()
        end.stream = self.file.stream
        if self.file.stream.time_base:
            end.time_base = self.file.stream.time_base
        with contextlib.suppress(av.error.FFmpegError):
            yield from map(self._present, end.decode())

    def _present(self, frame: object) -> PresentedPicture:
        assert isinstance(frame, av.VideoFrame)
        check_size(frame.width, frame.height, self.file.name)
        if self._timestamps is not None:
            stamp = self._timestamps[0] if frame.pts is None else frame.pts
            index = int(np.searchsorted(self._timestamps, stamp))
            (time,) = self.times_of(np.array([stamp]), self._timestamps)
        else:
            index, placed = self._count, self.timeline.place(frame.pts)
            self._first_time, time = (placed if index == 0 else self._first_time), float(placed)
        self._count = index + 1
        packet = frame.opaque
        return PresentedPicture(frame, index, time, packet if isinstance(packet, PacketInfo) else None)

    def _encryption_error(self) -> CodecError:
        if self._count:
            return BrokenStreamError(f"{self.file.name} is encrypted after its first {self._count} frames", self._count)
        return EncryptedError(f"{self.file.name} is encrypted (Common Encryption); give a decrypted file")

    def _size_error(self) -> CodecError | None:
        """Return the error of a picture that libavcodec refuses for its size, which many decoders then forget."""
        width, height = self._context.width, self._context.height
        if width * height <= max_pixels() and (width or not self._has_size):
            return None
        size = f"of {width}x{height}" if width else "of an invalid or larger size"
        return UnsupportedSizeError(
            f"{self.file.name} has pictures {size} after {self._count} frames; at most {max_pixels() / 1e6:g} million "
            "pixels are allowed"
        )

    def _failure(self, reason: str) -> CodecError:
        if error := self._size_error():
            return error
        name = self.file.name
        if self._count:
            return BrokenStreamError(
                f"{name} is damaged: decoding stopped after {self._count} frames ({reason})", self._count
            )
        return NoFramesError(f"{name} has a video stream, but its first picture cannot be decoded ({reason})")
