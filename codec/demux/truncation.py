"""Whether a file ends before its container says so, as a transfer that broke off leaves it.

FFmpeg reads such a file as if it were a shorter video. MP4 and MOV list where each frame lies; Matroska and WebM say
how long they are, unless they were written as a live stream; AVI, FLV and IVF say how long each frame is. MPEG-TS and
raw streams say nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from codec.demux.source import VideoFile

INDEXED = frozenset(("mov", "mp4"))
"""Containers whose index says where each frame lies."""
SEGMENTED = frozenset(("matroska", "webm"))
"""Containers of one segment, whose header says how long it is."""
_SIZED = INDEXED | {"avi", "flv", "ivf"}
"""Containers that say how long a packet is, where FFmpeg calls one corrupt only because the file ends in it."""
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"


def truncation_reason(file: VideoFile) -> str | None:
    """Why the file is known to end too early, in words that follow "it is"; None where nothing says so.

    The index of a fragmented MP4 grows while its packets are read, so ask after the last one.
    """
    if file.formats & INDEXED:
        end = max((entry.pos + entry.size for entry in file.stream.index_entries), default=0)
        promise = "index points to"
    else:
        end = (file.formats & SEGMENTED and segment_end(file.head)) or 0
        promise = "header promises"
    return f"cut off: its {promise} byte {end:,}, the file has {file.size:,} bytes" if end > file.size else None


def is_cut(file: VideoFile, packet: av.Packet[Any]) -> bool:
    """Whether the file ends in the middle of this packet."""
    return packet.is_corrupt and bool(file.formats & _SIZED)


def segment_end(head: bytes) -> int | None:
    """Where a Matroska segment ends, in bytes from the start of the file; None where that is not known (RFC 8794, 6).

    Args:
        head: The first bytes of the file.
    """
    if not head.startswith(_EBML):
        return None
    header = _sized(head, len(_EBML))
    if header is None or head[sum(header) :][:4] != _SEGMENT:
        return None
    segment = _sized(head, sum(header) + len(_SEGMENT))
    return None if segment is None else sum(segment)


def _sized(data: bytes, place: int) -> tuple[int, int] | None:
    """Where an element's content begins, and its bytes, from the size at `place`; None if that is unknown or absent.

    A size of n bytes begins with n - 1 zero bits and a one; all ones after that stand for an unknown size.
    """
    length = 9 - data[place].bit_length() if place < len(data) else 9
    field = data[place : place + length]
    if length > 8 or len(field) < length:
        return None
    most = (1 << 7 * length) - 1
    size = int.from_bytes(field, "big") & most
    return None if size == most else (place + length, size)
