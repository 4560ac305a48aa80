"""The few H.264 header fields that decoding does not export: NAL types and parts of the sequence parameter set.

Clause numbers are those of ITU-T H.264 (08/2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from codec.h264.parameter_sets import ParameterSets
from codec.h264.slice_header import Marking, parse_marking

_IDR = 5
_SLICES = (1, 2, 5)
_START_CODE = b"\x00\x00\x01"
_SLICE_HEADER = 512


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """What is needed of one packet's NAL units.

    Attributes:
        is_reference: Whether the picture may be referred to (`nal_ref_idc` > 0).
        is_idr: Whether no later picture refers to one before this (instantaneous decoding refresh).
        marking: What a reference picture does to those before it; None for a field and where it is not known.
    """

    is_reference: bool
    is_idr: bool
    marking: Marking | None = None


def length_size(extradata: bytes | None) -> int:
    """Bytes of the length before each NAL unit (ISO/IEC 14496-15, 5.3.3.1); 0 for start codes (Annex B)."""
    if extradata and len(extradata) >= 7 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    return 0


def parameter_sets(extradata: bytes | None) -> ParameterSets:
    """Parameter sets that the container holds."""
    sets = ParameterSets()
    if not extradata:
        return sets
    if length_size(extradata) == 0:
        access_unit(extradata, 0, sets)
        return sets
    position = 5
    for mask in (31, 255):  # sequence parameter sets, then picture parameter sets, each after its count
        count = extradata[position] & mask if position < len(extradata) else 0
        position += 1
        for _ in range(count):
            start = position + 2
            position = start + int.from_bytes(extradata[position:start], "big")
            sets.take(extradata[start:position])
    return sets


def access_unit(packet: bytes, length_bytes: int, sets: ParameterSets) -> AccessUnit:
    """Read the NAL unit headers of one packet, up to the header of its first slice.

    Args:
        packet: The packet's bytes.
        length_bytes: As `length_size` says; 0 where NAL units follow start codes.
        sets: Parameter sets in force; takes in those that the packet brings.
    """
    for start, end in _nal_units(packet, length_bytes):
        kind = packet[start] & 31
        if kind in _SLICES:
            is_reference, marking = bool(packet[start] >> 5 & 3), None
            if is_reference and sets.sequence:
                marking = parse_marking(packet[start : start + _SLICE_HEADER], sets.sequence, sets.pictures)
            return AccessUnit(is_reference, kind == _IDR, marking)
        sets.take(packet[start:end])
    return AccessUnit(is_reference=False, is_idr=False)


def _nal_units(packet: bytes, length_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and end of each NAL unit, header byte included."""
    if length_bytes:
        position = 0
        while position + length_bytes < len(packet):
            start = position + length_bytes
            position = start + int.from_bytes(packet[position:start], "big")
            yield start, min(position, len(packet))
        return
    start = packet.find(_START_CODE) + 3
    while 3 <= start < len(packet):
        following = packet.find(_START_CODE, start)
        yield start, following if following >= 0 else len(packet)
        start = following + 3
