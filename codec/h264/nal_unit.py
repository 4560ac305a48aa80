"""Find the NAL units in a packet and read their headers (ITU-T H.264, clause 7.3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

_START_CODE = b"\x00\x00\x01"


class NalUnitType(IntEnum):
    """The values of `nal_unit_type` that are read here (table 7-1)."""

    SLICE = 1
    SLICE_PARTITION_A = 2
    IDR_SLICE = 5
    SPS = 7
    PPS = 8


def nal_unit_type(nal: bytes) -> int:
    """`nal_unit_type` of a NAL unit, 0 (unspecified) for an empty one."""
    return nal[0] & 31 if nal else 0


def nal_length_size(extradata: bytes | None) -> int:
    """Number of bytes of the length before each NAL unit (ISO/IEC 14496-15, 5.3.3.1); 0 for start codes (Annex B)."""
    if extradata and len(extradata) >= 7 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    return 0


def nal_unit_ranges(packet: bytes, length_size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each NAL unit in a packet, header byte included.

    Args:
        packet: The packet's bytes.
        length_size: As returned by `nal_length_size`.
    """
    if length_size:
        position = 0
        while position + length_size < len(packet):
            start = position + length_size
            position = start + int.from_bytes(packet[position:start], "big")
            yield start, min(position, len(packet))
        return
    start = packet.find(_START_CODE) + 3
    while 3 <= start < len(packet):
        following = packet.find(_START_CODE, start)
        yield start, following if following >= 0 else len(packet)
        start = following + 3
