"""How long an uploaded video is, without reading all of it.

The packets of a short video are counted. A long one is not read from end to end before its job is accepted: an MP4
lists its frames, and of a Matroska file the header and the last seconds are looked at. Everything else is counted, and
so is whatever seems to go beyond a limit, so that nothing is refused by a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import av
import av.error

from codec.demux.source import VideoFile
from codec.demux.truncation import INDEXED, SEGMENTED, truncation_reason
from codec.errors import BrokenStreamError
from service.problems import ProblemError

_COUNTED = 1000
"""Packets up to which a video is short: as many are read in some 10 ms."""
_TAIL_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a video is.

    Attributes:
        frames: Frames that are shown; None where nothing says how many.
        exact: Whether they were counted, or listed by an index; otherwise duration and rate say so.
        seconds: From the first to the end of the last frame, None without times.
    """

    frames: int | None
    exact: bool
    seconds: float | None


@dataclass(slots=True)
class _Seen:
    """What packets say, in each stream's own unit of time.

    Attributes:
        frames: Packets of the video stream that are shown.
        packets: All packets of the video stream.
        first: Earliest time of the video stream.
        ends: Stream -> latest end.
    """

    frames: int = 0
    packets: int = 0
    first: int | None = None
    ends: dict[int, int] = field(default_factory=dict)


Check = Callable[[int, float], None]
"""Is called with frames and seconds; raises where they go beyond a limit."""


def measure(video: BinaryIO, check: Check) -> Extent:
    """Find out how long a video is.

    Args:
        video: The file.
        check: Refuses too many frames or seconds.

    Raises:
        ProblemError: It is cut off.
        BrokenStreamError: It is damaged.
        UnreadableError, NoVideoError: It is no video.
    """
    with closing(VideoFile(video)) as file:
        seen = _read(file, file.container.demux(), check, _COUNTED)
        if seen.packets <= _COUNTED:
            return _counted(file, seen)
        extent: Extent | None = None
        if file.formats & INDEXED and len(file.stream.index_entries) > _COUNTED:
            extent = _listed(file)
        elif file.formats & SEGMENTED and file.container.duration:
            extent = _timed(file, seen)
    if extent is not None and _is_allowed(extent, check):
        return extent
    with closing(VideoFile(video)) as file:
        return _counted(file, _read(file, file.container.demux(), check))


def _read(file: VideoFile, packets: Iterable[av.Packet[Any]], check: Check, most: int | None = None) -> _Seen:
    """Read packets, decoding none; with `most`, until there was one more of the video stream."""
    seen, video = _Seen(), file.stream.index
    ends = seen.ends
    unit = float(file.stream.time_base or 0)
    try:
        for packet in packets:
            if not packet.size or packet.has_sidedata("encryption_info"):
                continue  # decoding the first picture says that it is encrypted
            index, begin = packet.stream_index, packet.pts
            if begin is not None:
                ends[index] = max(ends.get(index, begin), begin + (packet.duration or 0))
            if index != video:
                continue
            seen.packets += 1
            seen.frames += not packet.is_discard
            if begin is not None and (seen.first is None or begin < seen.first):
                seen.first = begin
            if most is not None and seen.packets > most:
                break
            check(seen.frames, 0.0 if seen.first is None else (ends[video] - seen.first) * unit)
    except av.error.FFmpegError as error:
        if seen.packets:
            failure = BrokenStreamError(f"the video is damaged after its first {seen.packets} frames", seen.packets)
            raise failure from error
    return seen


def _counted(file: VideoFile, seen: _Seen) -> Extent:
    """The extent of a video all of whose packets were read."""
    _check_file(file)
    if file.formats & INDEXED:
        listed = len(file.stream.index_entries)
        if seen.packets < listed:
            raise ProblemError(
                "video-truncated", f"the video is cut off: its index lists {listed} frames, {seen.packets} are there"
            )
    _check_end(file, seen)
    seconds = None
    if seen.first is not None:
        seconds = float((seen.ends[file.stream.index] - seen.first) * (file.stream.time_base or 0))
    return Extent(seen.frames, True, seconds)


def _listed(file: VideoFile) -> Extent:
    """What the index says."""
    _check_file(file)
    frames = sum(not entry.is_discard for entry in file.stream.index_entries)
    stream = file.stream
    return Extent(
        frames, True, float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    )


def _timed(file: VideoFile, start: _Seen) -> Extent | None:
    """What the header and the last seconds say; None where they cannot be found."""
    _check_file(file)
    stream, container = file.stream, file.container
    try:
        container.seek(max(0, (container.duration or 0) - _TAIL_SECONDS * av.time_base))
    except av.error.FFmpegError:
        return None
    tail = _read(file, container.demux(), lambda _frames, _seconds: None)
    if start.first is None or stream.index not in tail.ends or not stream.time_base:
        return None
    _check_end(file, tail)
    seconds = float((tail.ends[stream.index] - start.first) * stream.time_base)
    rate = stream.average_rate
    return Extent(round(seconds * rate) if rate else None, False, seconds)


def _is_allowed(extent: Extent, check: Check) -> bool:
    try:
        check(extent.frames or 0, extent.seconds or 0.0)
    except ProblemError:
        return False
    return True


def _check_file(file: VideoFile) -> None:
    """Refuse a file that ends before what its container says."""
    if reason := truncation_reason(file):
        raise ProblemError("video-truncated", f"the video is {reason}")


def _check_end(file: VideoFile, seen: _Seen) -> None:
    """Refuse a file that ends long before the time its header promises."""
    streams, duration = file.container.streams, file.container.duration
    ends = [end * unit for index, end in seen.ends.items() if (unit := streams[index].time_base)]
    if not duration or not ends:
        return
    promised, end = duration / av.time_base, float(max(ends))
    if promised - end > max(0.5, promised / 10):
        raise ProblemError(
            "video-truncated",
            f"the video is cut off: its header promises {promised:.1f} seconds, it ends after {end:.1f}",
        )
