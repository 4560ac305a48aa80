"""Find out how much of the start of a stream cannot be decoded.

A stream cut out of the middle of another one begins with packets that need pictures before the cut: all packets before
the first key frame, and those after it that are shown before it (leading pictures). Decoders drop them.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import av
import av.error

from codec.demux.packets import PEEKED_PACKETS, Packets
from codec.demux.source import VideoFile

_MOST_PACKETS = 300
"""Most packets to decode: more than most encoders put between two key frames."""


@dataclass(frozen=True, slots=True)
class StreamStart:
    """The start of a stream.

    Attributes:
        lost: Number of packets that give no picture.
        first_pts: Time of the first picture in the stream's time base; None if nothing is lost, or without timestamps.
    """

    lost: int = 0
    first_pts: int | None = None


def starts_with_first_picture(packets: Packets) -> bool:
    """Whether the first packet is a key frame and shown before the others. Consumes no packet."""
    head = [packet for packet in packets.peek() if packet.size]
    if not head:
        return True
    first = head[0].pts
    if not head[0].is_keyframe or first is None:
        return False
    return all(packet.pts is not None and packet.pts > first for packet in head[1:])


def decode_start(file: VideoFile) -> StreamStart:
    """Decode up to the first key frame and the packets that may be shown before it.

    Args:
        file: A file from which no packet has been read.
    """
    context = file.stream.codec_context
    context.thread_count = 1
    sent, after_key = 0, -1
    times: list[int | None] = []
    with contextlib.suppress(av.error.FFmpegError):  # where demuxing fails, the file ends
        for packet in file.packets:
            if not packet.size or after_key == PEEKED_PACKETS or sent == _MOST_PACKETS:
                break
            sent += not packet.is_discard
            after_key += packet.is_keyframe or after_key >= 0
            times += _decoded(context, packet)
    times += _decoded(context, None)
    lost = max(0, sent - len(times))
    return StreamStart(lost, min((time for time in times if time is not None), default=None) if lost else None)


def _decoded(context: av.VideoCodecContext, packet: av.Packet[Any] | None) -> list[int | None]:
    """Return the times of the pictures that the decoder outputs; a packet that it refuses has none."""
    try:
        return [frame.pts for frame in context.decode(packet)]
    except av.error.FFmpegError:
        return []
