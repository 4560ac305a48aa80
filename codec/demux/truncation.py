"""Detect files that end early, as an interrupted transfer leaves them.

FFmpeg reads such a file as a shorter video. MP4 and MOV list the place of each frame; Matroska, WebM and AVI state
their length in bytes, unless they were written as a live stream; AVI, FLV and IVF state the length of each frame.
MPEG-TS and raw streams state nothing. A stated duration is no sign: many files state a wrong one and miss no byte.
"""

from __future__ import annotations

from typing import Any

import av

from codec.demux.source import VideoFile

INDEXED = frozenset(("mov", "mp4"))
"""Formats with an index that lists the place of each frame."""
SEGMENTED = frozenset(("matroska", "webm"))
"""Formats with a single segment whose header states its length."""
WITH_DURATION = INDEXED | SEGMENTED | {"avi", "flv", "asf"}
"""Formats whose header states a duration."""
_WITH_PACKET_SIZES = INDEXED | {"avi", "flv", "ivf"}
"""Formats that state the length of each packet: FFmpeg marks a packet as corrupt only if the file ends within it."""
_UNKNOWN_RIFF_SIZE = 0xFFFFFFFF
_EBML_ID = b"\x1a\x45\xdf\xa3"
_SEGMENT_ID = b"\x18\x53\x80\x67"


def truncation_reason(file: VideoFile) -> str | None:
    """Return the sign that the file ends early, in words that follow "it is"; None without such a sign.

    Call it after the last packet: the index of a fragmented MP4 grows while packets are read.
    """
    if file.formats & INDEXED:
        end = max((entry.pos + entry.size for entry in file.stream.index_entries), default=0)
        promise = "index points to"
    else:
        end = (segment_end(file.head) if file.formats & SEGMENTED else riff_end(file.head)) or 0
        promise = "header promises"
    if end <= file.size_bytes:
        return None
    return f"cut off: its {promise} byte {end:,}, the file has {file.size_bytes:,} bytes"


def is_packet_truncated(file: VideoFile, packet: av.Packet[Any]) -> bool:
    """Whether the file ends within this packet."""
    return packet.is_corrupt and bool(file.formats & _WITH_PACKET_SIZES)


def segment_end(head: bytes) -> int | None:
    """End of a Matroska segment in bytes from the start of the file, None if unknown (RFC 8794, section 6).

    Args:
        head: The first bytes of the file.
    """
    if not head.startswith(_EBML_ID):
        return None
    header = _element_range(head, len(_EBML_ID))
    if header is None or head[sum(header) :][:4] != _SEGMENT_ID:
        return None
    segment = _element_range(head, sum(header) + len(_SEGMENT_ID))
    return None if segment is None else sum(segment)


def riff_end(head: bytes) -> int | None:
    """End of the first RIFF chunk in bytes from the start of the file, None if unknown (AVI RIFF File Reference).

    Args:
        head: The first bytes of the file.
    """
    size = int.from_bytes(head[4:8], "little")
    return None if head[:4] != b"RIFF" or size in (0, _UNKNOWN_RIFF_SIZE) else 8 + size


def _element_range(data: bytes, position: int) -> tuple[int, int] | None:
    """Start and length in bytes of the content of an element whose size field is at `position`.

    A size field of n bytes starts with n - 1 zero bits and a one. If all other bits are ones, the size is unknown.

    Returns:
        None if the size is unknown or `data` ends before it.
    """
    length = 9 - data[position].bit_length() if position < len(data) else 9
    field = data[position : position + length]
    if length > 8 or len(field) < length:
        return None
    all_ones = (1 << 7 * length) - 1
    size = int.from_bytes(field, "big") & all_ones
    return None if size == all_ones else (position + length, size)
