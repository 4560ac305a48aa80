"""Measures the length of an uploaded video without reading all of it.

The packets of a short video are counted. For a long video, an MP4 file lists its frames in an index; of a Matroska file
only the header and the last seconds are read. All other files are counted, and so is every video that seems to exceed a
limit, so no video is refused because of an estimate.
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

_SHORT_PACKETS = 1000
"""Largest number of packets of a short video; reading them takes about 10 ms."""
_TAIL_SECONDS = 2


@dataclass(frozen=True, slots=True)
class VideoLength:
    """Length of a video.

    Attributes:
        frames: Number of displayed frames, None if unknown.
        exact: Whether frames were counted or listed by an index, rather than estimated from duration and frame rate.
        seconds: Time from the start of the first to the end of the last frame, None without timestamps.
    """

    frames: int | None
    exact: bool
    seconds: float | None


@dataclass(slots=True)
class _PacketStats:
    """Statistics of the packets read, with times in the time base of each stream.

    Attributes:
        frames: Number of displayed packets of the video stream.
        packets: Number of all packets of the video stream.
        first: Earliest timestamp of the video stream.
        ends: Latest end per stream.
    """

    frames: int = 0
    packets: int = 0
    first: int | None = None
    ends: dict[int, int] = field(default_factory=dict)


LengthCheck = Callable[[int, float], None]
"""Takes frames and seconds, and raises `ProblemError` if they exceed a limit."""


def measure_length(video: BinaryIO, check: LengthCheck) -> VideoLength:
    """Measure the length of a video.

    Args:
        video: The file.
        check: Refuses a video with too many frames or seconds.

    Raises:
        ProblemError: The video is cut off or exceeds a limit.
        BrokenStreamError: The video is damaged.
        UnreadableError, NoVideoError: This is not a video.
    """
    with closing(VideoFile(video)) as file:
        stats = _read(file, file.container.demux(), check, _SHORT_PACKETS)
        if stats.packets <= _SHORT_PACKETS:
            return _counted(file, stats)
        length: VideoLength | None = None
        if file.formats & INDEXED and len(file.stream.index_entries) > _SHORT_PACKETS:
            length = _from_index(file)
        elif file.formats & SEGMENTED and file.container.duration:
            length = _from_tail(file, stats)
    if length is not None and _is_allowed(length, check):
        return length
    with closing(VideoFile(video)) as file:
        return _counted(file, _read(file, file.container.demux(), check))


def _read(
    file: VideoFile, packets: Iterable[av.Packet[Any]], check: LengthCheck, most: int | None = None
) -> _PacketStats:
    """Read packets without decoding; with `most`, stop after the first packet of the video stream beyond it."""
    stats, video = _PacketStats(), file.stream.index
    ends = stats.ends
    time_base = float(file.stream.time_base or 0)
    try:
        for packet in packets:
            if not packet.size or packet.has_sidedata("encryption_info"):
                continue  # decoding the first picture reports the encryption
            index, begin = packet.stream_index, packet.pts
            if begin is not None:
                ends[index] = max(ends.get(index, begin), begin + (packet.duration or 0))
            if index != video:
                continue
            stats.packets += 1
            stats.frames += not packet.is_discard
            if begin is not None and (stats.first is None or begin < stats.first):
                stats.first = begin
            if most is not None and stats.packets > most:
                break
            check(stats.frames, 0.0 if stats.first is None else (ends[video] - stats.first) * time_base)
    except av.error.FFmpegError as error:
        if stats.packets:
            failure = BrokenStreamError(f"the video is damaged after its first {stats.packets} frames", stats.packets)
            raise failure from error
    return stats


def _counted(file: VideoFile, stats: _PacketStats) -> VideoLength:
    """Return the length of a video whose packets have all been read."""
    _check_file(file)
    if file.formats & INDEXED:
        listed = len(file.stream.index_entries)
        if stats.packets < listed:
            raise ProblemError(
                "video-truncated",
                f"the video is cut off: its index lists {listed} frames, the file has {stats.packets}",
            )
    _check_end(file, stats)
    seconds = None
    if stats.first is not None:
        seconds = float((stats.ends[file.stream.index] - stats.first) * (file.stream.time_base or 0))
    return VideoLength(stats.frames, True, seconds)


def _from_index(file: VideoFile) -> VideoLength:
    """Return the length according to the index of the file."""
    _check_file(file)
    stream = file.stream
    frames = sum(not entry.is_discard for entry in stream.index_entries)
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    return VideoLength(frames, True, seconds)


def _from_tail(file: VideoFile, start: _PacketStats) -> VideoLength | None:
    """Estimate the length from the start and the last seconds; None if the file cannot be searched."""
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
    return VideoLength(round(seconds * rate) if rate else None, False, seconds)


def _is_allowed(length: VideoLength, check: LengthCheck) -> bool:
    try:
        check(length.frames or 0, length.seconds or 0.0)
    except ProblemError:
        return False
    return True


def _check_file(file: VideoFile) -> None:
    """Refuse a file that is shorter than its container states."""
    if reason := truncation_reason(file):
        raise ProblemError("video-truncated", f"the video is {reason}")


def _check_end(file: VideoFile, stats: _PacketStats) -> None:
    """Refuse a file whose packets end long before the duration in its header."""
    streams, duration = file.container.streams, file.container.duration
    ends = [end * time_base for index, end in stats.ends.items() if (time_base := streams[index].time_base)]
    if not duration or not ends:
        return
    stated, end = duration / av.time_base, float(max(ends))
    if stated - end > max(0.5, stated / 10):
        raise ProblemError(
            "video-truncated",
            f"the video is cut off: its header states {stated:.1f} seconds, it ends after {end:.1f}",
        )
