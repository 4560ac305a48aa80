"""Put the pictures of a stream on one clock that begins at 0 and never jumps.

Timestamps of a stream have any origin (a broadcast that has run for 25 hours) and may start anew inside it (two files
joined, a clock of 33 bits that wraps). What is written for people counts from 0 instead, and keeps the distances of
frames. FFmpeg's command line does the same (`-copyts` off, `-dts_delta_threshold`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from codec.demux.source import VideoFile

_DEFAULT_RATE = 25
"""Frames per second of a stream without timestamps and rate."""
_DEFAULT_TIME_BASE = Fraction(1, 90_000)
LONGEST_STEP = 10
"""Seconds. A longer step ahead is a jump in formats whose clock may jump, as in FFmpeg."""
_TS_DISCONT = 0x200
"""AVFMT_TS_DISCONT (libavformat/avformat.h): the format allows the clock to jump."""


@dataclass(frozen=True, slots=True)
class ClockSegment:
    """Pictures between two jumps of the stream's clock.

    Attributes:
        index: Presentation index of the first picture.
        start: Timestamp of the first picture on the stream's clock, in seconds.
        offset: Seconds to subtract from timestamps of the segment.
    """

    index: int
    start: Fraction
    offset: Fraction


class Timeline:
    """Places pictures, which must come in presentation order.

    Args:
        time_base: Unit of timestamps in seconds, None if unknown.
        rate: Pictures per second, None if unknown.
        may_jump: Whether clocks of the format may jump, so that a long step ahead is no picture that is shown for long.
        sound_start: Timestamp in seconds at which the sound begins, None without sound. Sound that begins up to 10
            seconds before the pictures is time 0.

    Attributes:
        time_base: Unit of timestamps in seconds.
        may_jump: Whether clocks of the format may jump.
        segments: Segments so far; the first one begins with the first picture that has a timestamp.
    """

    def __init__(
        self,
        time_base: Fraction | None = None,
        rate: Fraction | None = None,
        *,
        may_jump: bool = False,
        sound_start: Fraction | None = None,
    ) -> None:
        self.time_base = time_base or _DEFAULT_TIME_BASE
        self.segments: list[ClockSegment] = []
        self.may_jump = may_jump
        self._sound_start = sound_start
        self._step = 1 / Fraction(rate or _DEFAULT_RATE)
        self._count = 0
        self._placed = Fraction(0)
        self._stamp = Fraction(0)
        self._before_jump: Fraction | None = None

    @property
    def jumps(self) -> tuple[int, ...]:
        """Presentation indices of the pictures at which the stream's clock jumped."""
        return tuple(segment.index for segment in self.segments[1:])

    @property
    def jumped_ticks(self) -> int:
        """How far the clock has jumped ahead so far, in units of the time base; negative if back."""
        return round((self.segments[-1].offset - self.segments[0].offset) / self.time_base) if self.segments else 0

    def place(self, pts: int | None) -> Fraction:
        """Return the time of the next picture in seconds.

        Args:
            pts: Its timestamp in units of the time base; None puts it one frame after the picture before.
        """
        placed = self._expected if pts is None else self._place(pts * self.time_base)
        if self._count:
            placed = max(placed, self._placed + self.time_base)
        self._placed, self._count = placed, self._count + 1
        return placed

    @property
    def _expected(self) -> Fraction:
        return self._placed + self._step if self._count else Fraction(0)

    def _place(self, stamp: Fraction) -> Fraction:
        if not self.segments:
            self.segments.append(ClockSegment(0, stamp, self._origin(stamp)))
        elif self._before_jump is not None and 0 < stamp - self._before_jump <= LONGEST_STEP:
            self.segments.pop()  # one wrong timestamp, no jump
            self._before_jump = None
        else:
            self._follow(stamp)
        self._stamp = stamp
        return stamp - self.segments[-1].offset

    def _follow(self, stamp: Fraction) -> None:
        step = stamp - self._stamp
        if step < 0 or (self.may_jump and step > LONGEST_STEP):
            self.segments.append(ClockSegment(self._count, stamp, stamp - self._expected))
            self._before_jump = self._stamp
        else:
            self._before_jump = None
            self._step = step or self._step

    def _origin(self, stamp: Fraction) -> Fraction:
        """Return the timestamp of time 0: the first picture's, or that of sound that begins earlier."""
        origin = stamp - self._expected
        if self._sound_start is None or not 0 <= origin - self._sound_start <= LONGEST_STEP:
            return origin
        # Sound before 0 is the lead-in of its encoder, which is not heard.
        return max(self._sound_start, Fraction(0)) if origin >= 0 else self._sound_start


def timeline_of(file: VideoFile) -> Timeline:
    """Return the timeline of a file's video stream."""
    sound = next(iter(file.container.streams.audio), None)
    start = None
    if sound is not None and sound.start_time is not None and sound.time_base is not None:
        start = sound.start_time * sound.time_base
    return Timeline(
        file.stream.time_base,
        file.stream.average_rate,
        may_jump=bool(file.container.format.flags & _TS_DISCONT),
        sound_start=start,
    )
