"""The sound of the source, packet by packet, at times that follow the clock of the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from av.audio.stream import AudioStream

from codec.decode.timeline import Timeline
from codec.demux.source import VideoFile

if TYPE_CHECKING:
    from av.packet import Packet

    AudioPacket: TypeAlias = Packet[AudioStream]  # generic in the stubs only

_LONGEST_WAIT = 1
"""Seconds that a packet whose clock has jumped waits for the pictures' clock to jump too."""


class SourceSound:
    """Reads the packets of the first audio stream.

    A clock that jumps takes sound and pictures along, but not at the same packet: a packet after a jump belongs to the
    segment of the pictures' timeline whose start is nearest to it.

    Args:
        source: The source. An open file is for this reader alone.
        timeline: Where its pictures lie in time; it grows while they are read.

    Attributes:
        stream: The audio stream; None if the source has none.
        dropped: Number of packets that fit nowhere, because only the clock of the sound jumped.
    """

    def __init__(self, source: Path | BinaryIO, timeline: Timeline) -> None:
        self._file = None if isinstance(source, Path) and source.is_dir() else VideoFile(source)
        streams = self._file.container.streams.audio if self._file else ()
        self.stream: AudioStream | None = next(iter(streams), None)
        self.dropped = 0
        self._timeline = timeline
        self._segment = 0
        self._stamp: Fraction | None = None
        self._placed: Fraction | None = None
        self._packets = self._read()
        self._next: AudioPacket | None = next(self._packets, None)

    def packets_before(self, until: float | None) -> Iterator[tuple[AudioPacket, Fraction]]:
        """Yield the remaining packets that begin before `until` seconds, with their times; None: all of them."""
        while self._next is not None:
            packet = self._next
            stamp = Fraction(packet.pts or 0) * packet.time_base
            self._follow_jump(stamp)
            is_behind = self._stamp is not None and stamp < self._stamp
            time = stamp - self._offset
            if until is not None and (until - (self._placed or 0) < _LONGEST_WAIT if is_behind else time >= until):
                return
            self._next = next(self._packets, None)
            if is_behind:
                self.dropped += 1
                continue
            self._stamp = stamp
            if self._placed is None or time > self._placed:
                self._placed = time
                yield packet, time

    @property
    def _offset(self) -> Fraction:
        segments = self._timeline.segments
        return segments[self._segment].offset if segments else Fraction(0)

    def _follow_jump(self, stamp: Fraction) -> None:
        """Choose the segment of a packet whose clock does not go on from the packet before."""
        if self._stamp is not None and 0 <= stamp - self._stamp <= _LONGEST_WAIT:
            return
        segments = self._timeline.segments
        near = self._stamp
        if near is None and segments:
            near = segments[self._segment].start
        for number in range(self._segment + 1, len(segments)):
            if near is not None and abs(stamp - segments[number].start) < abs(stamp - near):
                near = segments[number].start
                self._segment, self._stamp = number, None

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
