"""The few H.264 header fields that decoding does not export: NAL types and parts of the sequence parameter set.

Clause numbers are those of ITU-T H.264 (08/2021).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from codec.bits import Bits
from codec.h264_marking import Marking, PictureParameters, parse_marking, parse_picture_parameters

_IDR = 5
_SPS = 7
_PPS = 8
_SLICES = (1, 2, 5)
_START_CODE = b"\x00\x00\x01"
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_MAX_REFERENCES = 16
_SLICE_HEADER = 512


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """What is needed of a sequence parameter set (clause 7.3.2.1.1).

    Attributes:
        max_reference_frames: `max_num_ref_frames`, 0 to 16.
        crop_left, crop_top: Pixels cut off the decoded picture at the left and at the top.
        number_bits: Bits of `frame_num`.
        order_kind, order_bits: `pic_order_cnt_type`, and bits of the picture order count of kind 0.
        order_is_implied: `delta_pic_order_always_zero_flag` of kind 1.
        is_frames_only: Whether there are no fields.
        chroma: Chroma array type: 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4.
        has_separate_planes: Whether the planes of 4:4:4 are coded each for itself.
    """

    max_reference_frames: int
    crop_left: int
    crop_top: int
    number_bits: int
    order_kind: int
    order_bits: int
    order_is_implied: bool
    is_frames_only: bool
    chroma: int
    has_separate_planes: bool


@dataclass(slots=True)
class ParameterSets:
    """The parameter sets in force.

    Attributes:
        sequence: The last sequence parameter set, None before the first.
        pictures: Picture parameter sets by number.
    """

    sequence: SequenceParameters | None = None
    pictures: dict[int, PictureParameters] = field(default_factory=dict)

    def take(self, nal: bytes) -> None:
        """Take a parameter set NAL unit in; damaged ones and other units change nothing."""
        kind = nal[0] & 31 if nal else 0
        if kind == _SPS:
            self.sequence = _parse_sps(nal) or self.sequence
        elif kind == _PPS and (picture := parse_picture_parameters(nal)):
            self.pictures[picture.number] = picture


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


def _parse_sps(nal: bytes) -> SequenceParameters | None:
    """Parse a sequence parameter set NAL unit; None if it is damaged or something else."""
    if not nal or nal[0] & 31 != _SPS:
        return None
    try:
        return _read_sps(Bits(nal))
    except ValueError:
        return None


def _read_sps(bits: Bits) -> SequenceParameters:
    profile = bits.read(8)
    bits.read(16)  # constraint flags, level
    bits.unsigned()  # seq_parameter_set_id
    chroma, separate = _skip_high_profile_fields(bits) if profile in _HIGH_PROFILES else (1, False)
    number_bits = bits.unsigned() + 4
    order = _read_picture_order(bits)
    references = min(bits.unsigned(), _MAX_REFERENCES)
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = 16 * (bits.unsigned() + 1), 16 * (bits.unsigned() + 1)  # of a frame, or of a field
    frame_mbs_only = bits.read(1)
    if not frame_mbs_only:
        bits.read(1)  # mb_adaptive_frame_field_flag
    bits.read(1)  # direct_8x8_inference_flag
    fields = 2 - frame_mbs_only
    unit_x, unit_y = 2 if chroma in (1, 2) else 1, (2 if chroma == 1 else 1) * fields
    left, top = _read_crop(bits, width // unit_x, height * fields // unit_y)
    return SequenceParameters(
        references, left * unit_x, top * unit_y, number_bits, *order, bool(frame_mbs_only), chroma, separate
    )


def _read_crop(bits: Bits, width: int, height: int) -> tuple[int, int]:
    """Left and top crop in units, of which the picture has width x height; something of it is left."""
    if not bits.read(1):  # frame_cropping_flag
        return 0, 0
    left, right, top, bottom = (bits.unsigned() for _ in range(4))
    if left + right >= width or top + bottom >= height:
        raise ValueError("cropping leaves nothing of the picture")
    return left, top


def _skip_high_profile_fields(bits: Bits) -> tuple[int, bool]:
    """Returns the chroma array type, and whether planes are separate."""
    chroma = bits.unsigned()
    separate = bits.read(1) if chroma == 3 else 0
    bits.unsigned()  # bit_depth_luma_minus8
    bits.unsigned()  # bit_depth_chroma_minus8
    bits.read(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.read(1):  # seq_scaling_matrix_present_flag
        for index in range(12 if chroma == 3 else 8):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return (0, True) if separate else (chroma, False)


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _read_picture_order(bits: Bits) -> tuple[int, int, bool]:
    """Kind of picture order count, bits of one of kind 0, and whether one of kind 1 is implied."""
    kind = bits.unsigned()
    if kind == 0:
        return kind, bits.unsigned() + 4, False
    implied = kind == 1 and bool(bits.read(1))
    if kind == 1:
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()
    return kind, 0, implied
