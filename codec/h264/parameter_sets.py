"""Sequence and picture parameter sets (ITU-T H.264, clauses 7.3.2.1 and 7.3.2.2).

Attributes have the names of the standard's syntax elements, without suffixes such as `_minus4`, whose offset is added.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from codec.h264.bit_reader import BitReader
from codec.h264.nal_unit import NalUnitType, nal_unit_type

MAX_NUM_REF_FRAMES = 16
"""Most reference frames that a stream may use (clause 7.4.2.1.1)."""

_PROFILES_WITH_CHROMA_FORMAT = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_MAX_CYCLE_LENGTH = 255


@dataclass(frozen=True, slots=True)
class SequenceParameterSet:
    """The part of a sequence parameter set that is used (clause 7.4.2.1.1).

    Attributes:
        max_num_ref_frames: Most reference frames, 0 to 16.
        crop_left, crop_top: Luma samples cropped from the decoded picture at the left and at the top.
        log2_max_frame_num: Number of bits of `frame_num`.
        pic_order_cnt_type: Type of picture order count, 0 to 2.
        log2_max_pic_order_cnt_lsb: Number of bits of `pic_order_cnt_lsb`, 0 unless the type is 0.
        delta_pic_order_always_zero_flag: Whether slices of type 1 carry no picture order count.
        frame_mbs_only_flag: Whether the stream has no field pictures.
        chroma_array_type: 0 for luma alone, 1 for 4:2:0, 2 for 4:2:2, 3 for 4:4:4.
        separate_colour_plane_flag: Whether the planes of 4:4:4 are coded separately.
    """

    max_num_ref_frames: int
    crop_left: int
    crop_top: int
    log2_max_frame_num: int
    pic_order_cnt_type: int
    log2_max_pic_order_cnt_lsb: int
    delta_pic_order_always_zero_flag: bool
    frame_mbs_only_flag: bool
    chroma_array_type: int
    separate_colour_plane_flag: bool


@dataclass(frozen=True, slots=True)
class PictureParameterSet:
    """The part of a picture parameter set that is needed to read a slice header (clause 7.4.2.2).

    Attributes:
        pic_parameter_set_id: Number by which slices refer to the set.
        bottom_field_pic_order_in_frame_present_flag: Whether slices carry the bottom field's picture order count.
        num_ref_idx_default_active: Default length of reference list 0 and list 1.
        has_weights: Whether P slices and whether B slices carry a prediction weight table.
        redundant_pic_cnt_present_flag: Whether slices carry `redundant_pic_cnt`.
    """

    pic_parameter_set_id: int
    bottom_field_pic_order_in_frame_present_flag: bool
    num_ref_idx_default_active: tuple[int, int]
    has_weights: tuple[bool, bool]
    redundant_pic_cnt_present_flag: bool


@dataclass(slots=True)
class ParameterSets:
    """The active parameter sets.

    Attributes:
        sps: The last sequence parameter set, None before the first.
        pps: Picture parameter sets by `pic_parameter_set_id`.
    """

    sps: SequenceParameterSet | None = None
    pps: dict[int, PictureParameterSet] = field(default_factory=dict)

    def update(self, nal: bytes) -> None:
        """Store a parameter set NAL unit. Damaged sets and other NAL units change nothing."""
        try:
            match nal_unit_type(nal):
                case NalUnitType.SPS:
                    self.sps = _parse_sps(BitReader(nal))
                case NalUnitType.PPS:
                    if pps := _parse_pps(BitReader(nal)):
                        self.pps[pps.pic_parameter_set_id] = pps
        except ValueError:
            return


def _parse_sps(bits: BitReader) -> SequenceParameterSet:
    profile_idc = bits.u(8)
    bits.u(16)  # constraint flags, level_idc
    bits.ue()  # seq_parameter_set_id
    chroma_array_type, separate_planes = 1, False
    if profile_idc in _PROFILES_WITH_CHROMA_FORMAT:
        chroma_array_type, separate_planes = _parse_chroma_format(bits)
    log2_max_frame_num = bits.ue() + 4
    pic_order_cnt = _parse_pic_order_cnt(bits)
    max_num_ref_frames = min(bits.ue(), MAX_NUM_REF_FRAMES)
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width, height = 16 * (bits.ue() + 1), 16 * (bits.ue() + 1)  # of a frame, or of a field
    frame_mbs_only = bits.flag()
    if not frame_mbs_only:
        bits.u(1)  # mb_adaptive_frame_field_flag
    bits.u(1)  # direct_8x8_inference_flag
    fields_per_frame = 1 if frame_mbs_only else 2
    # CropUnitX and CropUnitY (equations 7-19 to 7-22)
    unit_x, unit_y = 2 if chroma_array_type in (1, 2) else 1, (2 if chroma_array_type == 1 else 1) * fields_per_frame
    left, top = _parse_cropping(bits, width // unit_x, height * fields_per_frame // unit_y)
    return SequenceParameterSet(
        max_num_ref_frames,
        left * unit_x,
        top * unit_y,
        log2_max_frame_num,
        *pic_order_cnt,
        frame_mbs_only,
        chroma_array_type,
        separate_planes,
    )


def _parse_chroma_format(bits: BitReader) -> tuple[int, bool]:
    """ChromaArrayType and `separate_colour_plane_flag`; skips bit depths and scaling matrices."""
    chroma_format_idc = bits.ue()
    separate_planes = bits.flag() if chroma_format_idc == 3 else False
    bits.ue()  # bit_depth_luma_minus8
    bits.ue()  # bit_depth_chroma_minus8
    bits.u(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.flag():  # seq_scaling_matrix_present_flag
        for index in range(12 if chroma_format_idc == 3 else 8):
            if bits.flag():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return (0, True) if separate_planes else (chroma_format_idc, False)


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    """Clause 7.3.2.1.1.1."""
    last_scale = next_scale = 8
    for _ in range(size):
        if next_scale:
            next_scale = (last_scale + bits.se()) % 256
        last_scale = next_scale or last_scale


def _parse_pic_order_cnt(bits: BitReader) -> tuple[int, int, bool]:
    """`pic_order_cnt_type`, log2 of `MaxPicOrderCntLsb`, and `delta_pic_order_always_zero_flag`."""
    pic_order_cnt_type = bits.ue()
    if pic_order_cnt_type == 0:
        return pic_order_cnt_type, bits.ue() + 4, False
    always_zero = pic_order_cnt_type == 1 and bits.flag()
    if pic_order_cnt_type == 1:
        bits.se()  # offset_for_non_ref_pic
        bits.se()  # offset_for_top_to_bottom_field
        for _ in range(min(bits.ue(), _MAX_CYCLE_LENGTH)):
            bits.se()  # offset_for_ref_frame
    return pic_order_cnt_type, 0, always_zero


def _parse_cropping(bits: BitReader, width: int, height: int) -> tuple[int, int]:
    """Left and top crop offset of a picture of width x height, all in crop units.

    Raises:
        ValueError: Cropping leaves nothing of the picture.
    """
    if not bits.flag():  # frame_cropping_flag
        return 0, 0
    left, right, top, bottom = (bits.ue() for _ in range(4))
    if left + right >= width or top + bottom >= height:
        raise ValueError("cropping leaves nothing of the picture")
    return left, top


def _parse_pps(bits: BitReader) -> PictureParameterSet | None:
    """A picture parameter set; None if it has slice groups, which are not supported."""
    pic_parameter_set_id = bits.ue()
    bits.ue()  # seq_parameter_set_id
    bits.u(1)  # entropy_coding_mode_flag
    bottom_field_pic_order = bits.flag()
    if bits.ue():  # num_slice_groups_minus1
        return None
    num_ref_idx_default_active = bits.ue() + 1, bits.ue() + 1
    has_weights = bits.flag(), bits.u(2) == 1  # weighted_pred_flag, weighted_bipred_idc
    for _ in range(3):  # pic_init_qp_minus26, pic_init_qs_minus26, chroma_qp_index_offset
        bits.se()
    bits.u(2)  # deblocking_filter_control_present_flag, constrained_intra_pred_flag
    return PictureParameterSet(
        pic_parameter_set_id, bottom_field_pic_order, num_ref_idx_default_active, has_weights, bits.flag()
    )
