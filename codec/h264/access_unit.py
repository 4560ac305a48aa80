"""Read what motion analysis needs from a packet: parameter sets, NAL unit headers, the first slice header.

Clause numbers are those of ITU-T H.264 (08/2021).
"""

from __future__ import annotations

from dataclasses import dataclass

from codec.h264.nal_unit import NalUnitType, nal_length_size, nal_unit_ranges, nal_unit_type
from codec.h264.parameter_sets import ParameterSets
from codec.h264.slice_header import RefPicMarking, parse_ref_pic_marking

_SLICE_TYPES = (NalUnitType.SLICE, NalUnitType.SLICE_PARTITION_A, NalUnitType.IDR_SLICE)
_MAX_SLICE_HEADER_BYTES = 512


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """The coded picture in one packet.

    Attributes:
        is_reference: Whether later pictures may refer to the picture (`nal_ref_idc` > 0).
        is_idr: Whether it is an instantaneous decoding refresh: later pictures refer to nothing before it.
        marking: How a reference picture marks earlier ones; None for a field or an unreadable header.
    """

    is_reference: bool
    is_idr: bool
    marking: RefPicMarking | None = None


def parse_extradata(extradata: bytes | None) -> ParameterSets:
    """Parameter sets in extradata, which is Annex B or avcC (ISO/IEC 14496-15, 5.3.3.1). Skips damaged ones."""
    sets = ParameterSets()
    if not extradata:
        return sets
    if nal_length_size(extradata) == 0:
        parse_access_unit(extradata, 0, sets)
        return sets
    position = 5
    for count_mask in (31, 255):  # sequence parameter sets, then picture parameter sets, each after its count
        count = extradata[position] & count_mask if position < len(extradata) else 0
        position += 1
        for _ in range(count):
            start = position + 2
            position = start + int.from_bytes(extradata[position:start], "big")
            sets.update(extradata[start:position])
    return sets


def parse_access_unit(packet: bytes, length_size: int, sets: ParameterSets) -> AccessUnit:
    """Read the NAL units of one packet up to the header of the first slice.

    Args:
        packet: The packet's bytes.
        length_size: As returned by `nal_length_size`.
        sets: Active parameter sets, updated with those in the packet.
    """
    for start, end in nal_unit_ranges(packet, length_size):
        kind = nal_unit_type(packet[start : start + 1])
        if kind in _SLICE_TYPES:
            is_reference, marking = bool(packet[start] >> 5 & 3), None
            if is_reference and sets.sps:
                marking = parse_ref_pic_marking(packet[start : start + _MAX_SLICE_HEADER_BYTES], sets.sps, sets.pps)
            return AccessUnit(is_reference, kind == NalUnitType.IDR_SLICE, marking)
        sets.update(packet[start:end])
    return AccessUnit(is_reference=False, is_idr=False)
