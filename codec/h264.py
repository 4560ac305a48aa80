"""The few H.264 header fields that decoding does not export: NAL types and parts of the sequence parameter set.

Clause numbers are those of ITU-T H.264 (08/2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_IDR = 5
_SPS = 7
_SLICES = (1, 2, 5)
_START_CODE = b"\x00\x00\x01"
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_MAX_REFERENCES = 16


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """What is needed of a sequence parameter set (clause 7.3.2.1.1).

    Attributes:
        max_reference_frames: `max_num_ref_frames`, 0 to 16.
        crop_left, crop_top: Pixels cut off the decoded picture at the left and at the top.
    """

    max_reference_frames: int
    crop_left: int
    crop_top: int


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """What is needed of one packet's NAL units.

    Attributes:
        is_reference: Whether the picture may be referred to (`nal_ref_idc` > 0).
        is_idr: Whether no later picture refers to one before this (instantaneous decoding refresh).
        parameters: Sequence parameters that the packet brings, None if it brings none.
    """

    is_reference: bool
    is_idr: bool
    parameters: SequenceParameters | None


def length_size(extradata: bytes | None) -> int:
    """Bytes of the length before each NAL unit (ISO/IEC 14496-15, 5.3.3.1); 0 for start codes (Annex B)."""
    if extradata and len(extradata) >= 7 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    return 0


def parameters_from_extradata(extradata: bytes | None) -> SequenceParameters | None:
    """Sequence parameters that the container holds, None if it holds none."""
    if not extradata:
        return None
    if length_size(extradata) == 0:
        return access_unit(extradata, 0).parameters
    size = int.from_bytes(extradata[6:8], "big")
    return _parse_sps(extradata[8 : 8 + size]) if extradata[5] & 31 else None


def access_unit(packet: bytes, length_bytes: int) -> AccessUnit:
    """Read the NAL unit headers of one packet, up to its first slice.

    Args:
        packet: The packet's bytes.
        length_bytes: As `length_size` says; 0 where NAL units follow start codes.
    """
    parameters = None
    for start, end in _nal_units(packet, length_bytes):
        kind = packet[start] & 31
        if kind == _SPS:
            parameters = _parse_sps(packet[start:end]) or parameters
        elif kind in _SLICES:
            return AccessUnit(bool(packet[start] >> 5 & 3), kind == _IDR, parameters)
    return AccessUnit(is_reference=False, is_idr=False, parameters=parameters)


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


class _Bits:
    """Reads an RBSP bit by bit; past its end it reads zeros, which an Exp-Golomb code reads as an error."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the parameter set ends early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned(self) -> int:
        """ue(v), clause 9.1."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """se(v), clause 9.1.1."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _parse_sps(nal: bytes) -> SequenceParameters | None:
    """Parse a sequence parameter set NAL unit; None if it is damaged or something else."""
    if not nal or nal[0] & 31 != _SPS:
        return None
    try:
        return _read_sps(_Bits(nal[1:].replace(b"\x00\x00\x03", b"\x00\x00")))
    except ValueError:
        return None


def _read_sps(bits: _Bits) -> SequenceParameters:
    profile = bits.read(8)
    bits.read(16)  # constraint flags, level
    bits.unsigned()  # seq_parameter_set_id
    chroma = _skip_high_profile_fields(bits) if profile in _HIGH_PROFILES else 1
    bits.unsigned()  # log2_max_frame_num_minus4
    _skip_picture_order(bits)
    references = min(bits.unsigned(), _MAX_REFERENCES)
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    bits.unsigned()  # pic_width_in_mbs_minus1
    bits.unsigned()  # pic_height_in_map_units_minus1
    frame_mbs_only = bits.read(1)
    if not frame_mbs_only:
        bits.read(1)  # mb_adaptive_frame_field_flag
    bits.read(1)  # direct_8x8_inference_flag
    left = top = 0
    if bits.read(1):  # frame_cropping_flag
        left, _, top, _ = (bits.unsigned() for _ in range(4))
    unit_x = 2 if chroma in (1, 2) else 1
    unit_y = (2 if chroma == 1 else 1) * (2 - frame_mbs_only)
    return SequenceParameters(references, left * unit_x, top * unit_y)


def _skip_high_profile_fields(bits: _Bits) -> int:
    """Returns the chroma array type: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4."""
    chroma = bits.unsigned()
    separate = bits.read(1) if chroma == 3 else 0
    bits.unsigned()  # bit_depth_luma_minus8
    bits.unsigned()  # bit_depth_chroma_minus8
    bits.read(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.read(1):  # seq_scaling_matrix_present_flag
        for index in range(12 if chroma == 3 else 8):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return 0 if separate else chroma


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()  # log2_max_pic_order_cnt_lsb_minus4
    elif kind == 1:
        bits.read(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
