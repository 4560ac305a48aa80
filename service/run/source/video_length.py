"""Measure the length of a video without decoding it, and for long videos without reading all of it.

The packets of a short video are counted. For a long video, an MP4 file lists its frames in an index; of a Matroska file
only the header and the last seconds are read. All other files are counted, and so is every video that seems to exceed a
limit, so no video is refused because of an estimate.

Frames are what will be shown: packets at the start that cannot be decoded do not count (`codec.decode.start`). A
duration in a header is not believed, because recorders and editors leave wrong ones. Missing bytes are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import av
import av.error

from codec.decode.start import StreamStart, decode_start, starts_with_first_picture
from codec.decode.timeline import timeline_of
from codec.demux.source import VideoFile, VideoSource
from codec.demux.truncation import INDEXED, SEGMENTED, is_packet_truncated, truncation_reason
from codec.errors import BrokenStreamError

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
    """Statistics of the packets read, with times in the time base of the stream.

    Attributes:
        frames: Number of displayed packets.
        packets: Number of all packets.
        first: Earliest timestamp of a picture.
        end: Latest end.
    """

    frames: int = 0
    packets: int = 0
    first: int | None = None
    end: int | None = None


LengthCheck = Callable[[int, float], None]
"""Takes frames and seconds, and raises an error if they exceed a limit."""


def measure_length(video: VideoSource, check: LengthCheck = lambda _frames, _seconds: None) -> VideoLength:
    """Measure the length of a video.

    Args:
        video: Path, bytes, or seekable binary file object, which is left at any position.
        check: Refuses a video with too many frames or seconds.

    Raises:
        BrokenStreamError: The video is cut off or damaged.
        UnreadableError, NoVideoError: This is not a video.
        Exception: What `check` raises.
    """
    file, start = _open(video)
    with closing(file):
        stats = _read(file, file.packets, start, check, _SHORT_PACKETS)
        if stats.packets <= _SHORT_PACKETS:
            return _counted(file, stats)
        length: VideoLength | None = None
        if file.formats & INDEXED and len(file.stream.index_entries) > _SHORT_PACKETS:
            length = _from_index(file, start)
        elif file.formats & SEGMENTED and file.container.duration:
            length = _from_tail(file, stats)
    if length is not None and _is_allowed(length, check):
        return length
    with closing(VideoFile(video)) as file:
        return _counted(file, _read(file, file.packets, start, check))


def _open(video: VideoSource) -> tuple[VideoFile, StreamStart]:
    file = VideoFile(video)
    try:
        if starts_with_first_picture(file.packets):
            return file, StreamStart()
        start = decode_start(file)
    except BaseException:
        file.close()
        raise
    file.close()
    return VideoFile(video), start


def _read(
    file: VideoFile, packets: Iterable[av.Packet[Any]], start: StreamStart, check: LengthCheck, most: int | None = None
) -> _PacketStats:
    """Read packets without decoding; with `most`, stop after the first packet beyond it."""
    stats = _PacketStats(frames=-start.lost)
    time_base = float(file.stream.time_base or 0)
    timeline = timeline_of(file)
    try:
        for packet in packets:
            if not packet.size or packet.has_sidedata("encryption_info"):
                continue  # decoding the first picture reports the encryption
            if is_packet_truncated(file, packet):
                raise _cut_off(file, "cut off: it ends in the middle of a frame", stats.packets)
            stats.packets += 1
            stats.frames += not packet.is_discard
            if timeline.may_jump and packet.dts is not None:
                timeline.place(packet.dts)
            _add_time(stats, packet, start, timeline.jumped_ticks)
            if most is not None and stats.packets > most:
                break
            check(stats.frames, _seconds(stats, time_base) or 0.0)
    except av.error.FFmpegError as error:
        if stats.packets:
            failure = BrokenStreamError(f"the video is damaged after its first {stats.packets} frames", stats.packets)
            raise failure from error
    return stats


def _add_time(stats: _PacketStats, packet: av.Packet[Any], start: StreamStart, jumped: int) -> None:
    """Add the times of a packet on a clock that has jumped ahead by so many ticks before it."""
    if packet.pts is None or (start.first_pts is not None and packet.pts - jumped < start.first_pts):
        return
    begin = packet.pts - jumped
    end = begin + (packet.duration or 0)
    stats.first = begin if stats.first is None else min(stats.first, begin)
    stats.end = end if stats.end is None else max(stats.end, end)


def _seconds(stats: _PacketStats, time_base: float) -> float | None:
    return None if stats.first is None or stats.end is None else (stats.end - stats.first) * time_base


def _counted(file: VideoFile, stats: _PacketStats) -> VideoLength:
    """Return the length of a video whose packets have all been read."""
    _check_file(file, stats.packets)
    if file.formats & INDEXED:
        listed = len(file.stream.index_entries)
        if stats.packets < listed:
            raise _cut_off(
                file, f"cut off: its index lists {listed} frames, the file has {stats.packets}", stats.packets
            )
    return VideoLength(max(0, stats.frames), True, _seconds(stats, float(file.stream.time_base or 0)))


def _from_index(file: VideoFile, start: StreamStart) -> VideoLength:
    """Return the length according to the index of the file."""
    stream = file.stream
    _check_file(file, len(stream.index_entries))
    frames = sum(not entry.is_discard for entry in stream.index_entries) - start.lost
    seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    return VideoLength(frames, True, seconds)


def _from_tail(file: VideoFile, start: _PacketStats) -> VideoLength | None:
    """Estimate the length from the start and the last seconds; None if the file cannot be searched."""
    _check_file(file, start.packets)
    stream, container = file.stream, file.container
    try:
        container.seek(max(0, (container.duration or 0) - _TAIL_SECONDS * av.time_base))
    except av.error.FFmpegError:
        return None
    tail = _read(file, container.demux(stream), StreamStart(), lambda _frames, _seconds: None)
    if start.first is None or tail.end is None or not stream.time_base:
        return None
    seconds = float((tail.end - start.first) * stream.time_base)
    rate = stream.average_rate
    return VideoLength(round(seconds * rate) if rate else None, False, seconds)


def _is_allowed(length: VideoLength, check: LengthCheck) -> bool:
    try:
        check(length.frames or 0, length.seconds or 0.0)
    except Exception:
        return False
    return True


def _check_file(file: VideoFile, frames: int) -> None:
    """Refuse a file that is shorter than its container states."""
    if reason := truncation_reason(file):
        raise _cut_off(file, reason, frames)


def _cut_off(file: VideoFile, reason: str, frames: int) -> BrokenStreamError:
    return BrokenStreamError(f"{file.name} is {reason}", frames)
