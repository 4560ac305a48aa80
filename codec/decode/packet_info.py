"""Describe packets before they are decoded, from their H.264 headers where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
from av.codec.context import CodecContext

from codec.h264.access_unit import parse_access_unit, parse_extradata
from codec.h264.nal_unit import nal_length_size
from codec.h264.parameter_sets import SequenceParameterSet
from codec.h264.slice_header import RefPicMarking


@dataclass(frozen=True, slots=True, eq=False)
class PacketInfo:
    """Description of a packet, which travels through the decoder with it (`opaque`).

    Attributes:
        number: Position in decode order, from 0.
        pts: Presentation time in units of the stream's time base, None if unknown.
        is_reference: Whether later frames may refer to the picture, None if unknown.
        is_idr: Whether later frames refer to no frame before the picture, None if unknown.
        sps: Active H.264 sequence parameter set, None for other codecs.
        marking: How the picture marks earlier references (H.264), None if unknown.
    """

    number: int
    pts: int | None
    is_reference: bool | None = None
    is_idr: bool | None = None
    sps: SequenceParameterSet | None = None
    marking: RefPicMarking | None = None


class PacketParser:
    """Describes the packets of one stream in decode order.

    Args:
        context: The stream's codec context.
    """

    def __init__(self, context: CodecContext) -> None:
        self._is_h264 = context.name == "h264"
        extradata = context.extradata if self._is_h264 else None
        self._length_size = nal_length_size(extradata)
        self._sets = parse_extradata(extradata)
        self._count = 0

    def parse(self, packet: av.Packet[Any]) -> PacketInfo:
        """Describe the next packet."""
        number, self._count = self._count, self._count + 1
        if not self._is_h264:
            return PacketInfo(number, packet.pts)
        unit = parse_access_unit(bytes(packet), self._length_size, self._sets)
        return PacketInfo(number, packet.pts, unit.is_reference, unit.is_idr, self._sets.sps, unit.marking)
