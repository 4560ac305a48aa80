"""Decode a file's video stream once, from start to end: pictures in presentation order, and whether that end is one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import av.error

from codec.demux.source import VideoFile, check_size, reason_of
from codec.demux.truncation import is_cut, truncation_reason
from codec.errors import BrokenStreamError, CodecError, EncryptedError, NoFramesError
from codec.h264.access_unit import access_unit, length_size, parameter_sets
from codec.h264.parameter_sets import SequenceParameters
from codec.h264.slice_header import Marking


@dataclass(frozen=True, slots=True, eq=False)
class Packet:
    """What is known of a packet before it is decoded; travels through the decoder with it (`opaque`).

    Attributes:
        number: Position in decode order, from 0.
        pts: Presentation time in stream units, None if unknown.
        is_reference, is_idr: As in `DecodedPicture`; None where the picture's type decides.
        parameters: H.264 sequence parameters in force.
        marking: As in `DecodedPicture`.
    """

    number: int
    pts: int | None
    is_reference: bool | None = None
    is_idr: bool | None = None
    parameters: SequenceParameters | None = None
    marking: Marking | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PresentedPicture:
    """A decoded picture in presentation order.

    Attributes:
        frame: The picture.
        index: Position in presentation order, from 0.
        time: Presentation time in seconds, from pts; by rate and index where there is none.
        packet: The packet it came from; None where the decoder does not say.
    """

    frame: av.VideoFrame
    index: int
    time: float
    packet: Packet | None


class VideoDecoder:
    """Decodes a file's video stream once, from start to end.

    Args:
        file: The opened file.
        vectors: Whether to export motion vectors. They are only right with one thread.
    """

    def __init__(self, file: VideoFile, *, vectors: bool) -> None:
        self.file = file
        self._context = file.stream.codec_context
        self._context.copy_opaque = True
        self._is_h264 = self._context.name == "h264"
        self._context.thread_type = "AUTO"
        if vectors:
            self._context.options = {"flags2": "+export_mvs"}
        if vectors or self._is_h264:
            # Frame threads corrupt exported vectors and hide the error at the end of a cut H.264 stream; slice threads
            # turn off the repair of damaged pictures.
            self._context.thread_count = 1
        self._length_size = length_size(self._context.extradata) if self._is_h264 else 0
        self._sets = parameter_sets(self._context.extradata if self._is_h264 else None)
        self._sent: list[Packet] = []
        self._count = 0
        self._reason: str | None = None
        self._is_encrypted = False
        self._pictures = self._decode()
        self._peeked: list[PresentedPicture] = []

    def peek(self) -> PresentedPicture:
        """The first picture; `pictures` will give it again.

        Raises:
            NoFramesError: The stream has no picture.
            EncryptedError: The stream is encrypted.
        """
        if not self._peeked:
            self._peeked.append(next(self._pictures))
        return self._peeked[0]

    def pictures(self) -> Iterator[PresentedPicture]:
        """Pictures in presentation order, exactly those that a plain full decode gives.

        Raises:
            BrokenStreamError: Decoding stopped in the middle; what came before has been given.
        """
        while self._peeked:
            yield self._peeked.pop()
        yield from self._pictures

    @property
    def delay(self) -> int:
        """Pictures that the decoder holds back to reorder them."""
        return max(self._context.has_b_frames, 0)

    def pop_sent(self) -> list[Packet]:
        """Packets that went into the decoder since the last call."""
        sent, self._sent = self._sent, []
        return sent

    def _decode(self) -> Iterator[PresentedPicture]:
        try:
            for packet in self._packets():
                yield from map(self._present, packet.decode())
        except av.error.FFmpegError as error:
            if self._count:  # where a plain decode ends, too
                raise self._failure(reason_of(error)) from error
            self._reason = reason_of(error)
        yield from self._held_back()
        if self._is_encrypted:
            raise self._encrypted()
        if reason := truncation_reason(self.file) or self._reason:
            raise self._failure(reason)
        if not self._count:
            raise NoFramesError(f"{self.file.name} has a video stream without a single picture")

    def _packets(self) -> Iterator[av.Packet[Any]]:
        """The stream's packets up to its end or to a break, which `_reason` or `_is_encrypted` then says."""
        number = 0
        try:
            for packet in self.file.packets:
                if packet.has_sidedata("encryption_info"):
                    self._is_encrypted = True
                    return
                if is_cut(self.file, packet):
                    self._reason = "cut off: the file ends in the middle of a frame"
                    return
                if packet.size:
                    packet.opaque = self._describe(packet, number)
                    self._sent.append(packet.opaque)
                    number += 1
                yield packet
        except av.error.FFmpegError as error:
            self._reason = reason_of(error)

    def _held_back(self) -> Iterator[PresentedPicture]:
        """Pictures that are still in the decoder; none after the stream's own end, which has drained it."""
        end: av.Packet[Any] = av.Packet()
        end.stream = self.file.stream
        if self.file.stream.time_base:
            end.time_base = self.file.stream.time_base
        with contextlib.suppress(av.error.FFmpegError):
            yield from map(self._present, end.decode())

    def _describe(self, packet: av.Packet[Any], number: int) -> Packet:
        if not self._is_h264:
            return Packet(number, packet.pts)
        unit = access_unit(bytes(packet), self._length_size, self._sets)
        return Packet(number, packet.pts, unit.is_reference, unit.is_idr, self._sets.sequence, unit.marking)

    def _present(self, frame: object) -> PresentedPicture:
        assert isinstance(frame, av.VideoFrame)
        check_size(frame.width, frame.height, self.file.name)
        index, self._count = self._count, self._count + 1
        time = frame.time
        if time is None:
            time = float(index / (self.file.stream.average_rate or 25))
        packet = frame.opaque
        return PresentedPicture(frame, index, time, packet if isinstance(packet, Packet) else None)

    def _encrypted(self) -> CodecError:
        if self._count:
            return BrokenStreamError(f"{self.file.name} is encrypted after its first {self._count} frames", self._count)
        return EncryptedError(f"{self.file.name} is encrypted (Common Encryption); give a decrypted file")

    def _failure(self, reason: str) -> CodecError:
        name = self.file.name
        if self._count:
            return BrokenStreamError(
                f"{name} is damaged: decoding stopped after {self._count} frames ({reason})", self._count
            )
        return NoFramesError(f"{name} has a video stream, but its first picture cannot be decoded ({reason})")
