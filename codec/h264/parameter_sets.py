"""Sequence and picture parameter sets of H.264 (ITU-T H.264, clauses 7.3.2.1 and 7.3.2.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

from codec.h264.bit_reader import Bits

_SPS = 7


_PPS = 8


_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))


_MAX_REFERENCES = 16


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


@dataclass(frozen=True, slots=True)
class PictureParameters:
    """What is needed of a picture parameter set to read a slice header to its end (clause 7.3.2.2).

    Attributes:
        number: `pic_parameter_set_id`.
        has_field_order: `bottom_field_pic_order_in_frame_present_flag`.
        references: Default length of both reference lists.
        weighted: Whether a slice of type P, or B, brings weights.
        has_redundancy: `redundant_pic_cnt_present_flag`.
    """

    number: int
    has_field_order: bool
    references: tuple[int, int]
    weighted: tuple[bool, bool]
    has_redundancy: bool


def parse_picture_parameters(nal: bytes) -> PictureParameters | None:
    """Parse a picture parameter set NAL unit; None if it is damaged or has slice groups."""
    try:
        bits = Bits(nal)
        number, _ = bits.unsigned(), bits.unsigned()
        bits.read(1)  # entropy_coding_mode_flag
        has_field_order = bool(bits.read(1))
        if bits.unsigned():  # num_slice_groups_minus1
            return None
        references = bits.unsigned() + 1, bits.unsigned() + 1
        weighted = bool(bits.read(1)), bits.read(2) == 1
        for _ in range(3):  # quantiser
            bits.signed()
        bits.read(2)  # deblocking_filter_control_present_flag, constrained_intra_pred_flag
        return PictureParameters(number, has_field_order, references, weighted, bool(bits.read(1)))
    except ValueError:
        return None
