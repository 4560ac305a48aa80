"""Read decoded reference picture marking from a slice header (ITU-T H.264, clause 7.3.3).

Clause numbers are those of ITU-T H.264 (08/2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codec.h264.bit_reader import BitReader
from codec.h264.nal_unit import NalUnitType, nal_unit_type
from codec.h264.parameter_sets import PictureParameterSet, SequenceParameterSet

_P, _B, _SP = 0, 1, 3
"""Values of `slice_type` modulo 5 (table 7-6)."""
_MAX_OPERATIONS = 66


@dataclass(frozen=True, slots=True)
class RefPicMarking:
    """How a reference frame changes the marking of reference frames (`dec_ref_pic_marking`, clause 7.4.3.3).

    Attributes:
        frame_num: Number of the frame as a short-term reference.
        max_frame_num: `frame_num` counts modulo this.
        mmco: Memory management control operations in order, each (operation, first operand, second operand) with 0 for
            absent operands; None for sliding window marking.
        long_term_reference_flag: Whether an IDR picture is a long-term reference.
    """

    frame_num: int
    max_frame_num: int
    mmco: tuple[tuple[int, int, int], ...] | None = None
    long_term_reference_flag: bool = False


def parse_ref_pic_marking(
    nal: bytes, sps: SequenceParameterSet, pps_by_id: Mapping[int, PictureParameterSet]
) -> RefPicMarking | None:
    """Marking in the first slice of a reference frame; None for a field, damage or an unknown parameter set."""
    is_idr = nal_unit_type(nal) == NalUnitType.IDR_SLICE
    try:
        return _parse_slice_header(BitReader(nal), is_idr, sps, pps_by_id)
    except (KeyError, ValueError):
        return None


def _parse_slice_header(
    bits: BitReader, is_idr: bool, sps: SequenceParameterSet, pps_by_id: Mapping[int, PictureParameterSet]
) -> RefPicMarking | None:
    bits.ue()  # first_mb_in_slice
    slice_type = bits.ue() % 5
    pps = pps_by_id[bits.ue()]
    if sps.separate_colour_plane_flag:
        bits.u(2)  # colour_plane_id
    frame_num = bits.u(sps.log2_max_frame_num)
    max_frame_num = 1 << sps.log2_max_frame_num
    if not sps.frame_mbs_only_flag and bits.flag():  # field_pic_flag
        return None
    if is_idr:
        bits.ue()  # idr_pic_id
    _skip_pic_order_cnt(bits, sps, pps)
    _skip_reference_lists(bits, slice_type, sps, pps)
    if is_idr:
        bits.u(1)  # no_output_of_prior_pics_flag
        return RefPicMarking(frame_num, max_frame_num, long_term_reference_flag=bits.flag())
    is_adaptive = bits.flag()  # adaptive_ref_pic_marking_mode_flag
    return RefPicMarking(frame_num, max_frame_num, _parse_mmco(bits) if is_adaptive else None)


def _skip_pic_order_cnt(bits: BitReader, sps: SequenceParameterSet, pps: PictureParameterSet) -> None:
    """Skip the picture order count and `redundant_pic_cnt`."""
    if sps.pic_order_cnt_type == 0:
        bits.u(sps.log2_max_pic_order_cnt_lsb)
        if pps.bottom_field_pic_order_in_frame_present_flag:
            bits.se()
    elif sps.pic_order_cnt_type == 1 and not sps.delta_pic_order_always_zero_flag:
        bits.se()
        if pps.bottom_field_pic_order_in_frame_present_flag:
            bits.se()
    if pps.redundant_pic_cnt_present_flag:
        bits.ue()


def _skip_reference_lists(
    bits: BitReader, slice_type: int, sps: SequenceParameterSet, pps: PictureParameterSet
) -> None:
    """Skip lengths, modifications and weights of the reference lists."""
    if slice_type not in (_P, _B, _SP):
        return
    lists = 2 if slice_type == _B else 1
    if slice_type == _B:
        bits.u(1)  # direct_spatial_mv_pred_flag
    lengths = list(pps.num_ref_idx_default_active)
    if bits.flag():  # num_ref_idx_active_override_flag
        lengths[:lists] = [bits.ue() + 1 for _ in range(lists)]
    for _ in range(lists):
        if bits.flag():  # ref_pic_list_modification_flag
            while bits.ue() != 3:  # modification_of_pic_nums_idc
                bits.ue()
    if pps.has_weights[slice_type == _B]:
        _skip_pred_weight_table(bits, sum(lengths[:lists]), has_chroma=sps.chroma_array_type != 0)


def _skip_pred_weight_table(bits: BitReader, entries: int, *, has_chroma: bool) -> None:
    """Skip the weights of `entries` references (clause 7.3.3.2)."""
    bits.ue()  # luma_log2_weight_denom
    if has_chroma:
        bits.ue()  # chroma_log2_weight_denom
    for _ in range(entries):
        for values in (2, 4) if has_chroma else (2,):  # weight and offset of luma, then of both chroma planes
            if bits.flag():
                for _ in range(values):
                    bits.se()


def _parse_mmco(bits: BitReader) -> tuple[tuple[int, int, int], ...]:
    """Memory management control operations (clause 7.3.3.3)."""
    operations: list[tuple[int, int, int]] = []
    for _ in range(_MAX_OPERATIONS):
        operation = bits.ue()
        if operation == 0:
            return tuple(operations)
        first = bits.ue() if operation in (1, 2, 3, 4, 6) else 0
        operations.append((operation, first, bits.ue() if operation == 3 else 0))
    raise ValueError("the memory management control operations do not end")
