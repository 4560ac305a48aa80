"""What an H.264 slice header says of the pictures that stay references (clause 7.3.3).

Clause numbers are those of ITU-T H.264 (08/2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.h264.bit_reader import Bits

if TYPE_CHECKING:
    from codec.h264.parameter_sets import SequenceParameters
from codec.h264.parameter_sets import PictureParameters

_P, _B, _SP = 0, 1, 3
_IDR = 5
_MOST_COMMANDS = 66


@dataclass(frozen=True, slots=True)
class Marking:
    """How a reference frame changes which frames are references (clause 8.2.5).

    Attributes:
        number: `frame_num`; the frame's short-term number.
        modulus: Frame numbers count up to this, then from 0 again.
        commands: Memory management control operations (operation, first value, second value), in order; None: the
            oldest short-term frame leaves when there is no room.
        is_long_term: An IDR picture that is a long-term reference.
    """

    number: int
    modulus: int
    commands: tuple[tuple[int, int, int], ...] | None = None
    is_long_term: bool = False


def parse_marking(nal: bytes, sequence: SequenceParameters, pictures: dict[int, PictureParameters]) -> Marking | None:
    """Marking of a reference picture by its first slice; None for a field, a damaged header or unknown parameters."""
    try:
        return _read_slice(Bits(nal), nal[0] & 31 == _IDR, sequence, pictures)
    except (KeyError, ValueError):
        return None


def _read_slice(
    bits: Bits, is_idr: bool, sequence: SequenceParameters, pictures: dict[int, PictureParameters]
) -> Marking | None:
    bits.unsigned()  # first_mb_in_slice
    kind = bits.unsigned() % 5
    picture = pictures[bits.unsigned()]
    if sequence.has_separate_planes:
        bits.read(2)
    number = bits.read(sequence.number_bits)
    modulus = 1 << sequence.number_bits
    if not sequence.is_frames_only and bits.read(1):  # field_pic_flag
        return None
    if is_idr:
        bits.unsigned()  # idr_pic_id
    _skip_order(bits, sequence, picture)
    _skip_references(bits, kind, sequence, picture)
    if is_idr:
        bits.read(1)  # no_output_of_prior_pics_flag
        return Marking(number, modulus, is_long_term=bool(bits.read(1)))
    return Marking(number, modulus, _read_commands(bits) if bits.read(1) else None)


def _skip_order(bits: Bits, sequence: SequenceParameters, picture: PictureParameters) -> None:
    """Picture order count and what stands behind it."""
    if sequence.order_kind == 0:
        bits.read(sequence.order_bits)
        if picture.has_field_order:
            bits.signed()
    elif sequence.order_kind == 1 and not sequence.order_is_implied:
        bits.signed()
        if picture.has_field_order:
            bits.signed()
    if picture.has_redundancy:
        bits.unsigned()


def _skip_references(bits: Bits, kind: int, sequence: SequenceParameters, picture: PictureParameters) -> None:
    """Lengths, modification and weights of the reference lists."""
    if kind not in (_P, _B, _SP):
        return
    lists = 2 if kind == _B else 1
    if kind == _B:
        bits.read(1)  # direct_spatial_mv_pred_flag
    lengths = list(picture.references)
    if bits.read(1):  # num_ref_idx_active_override_flag
        lengths[:lists] = [bits.unsigned() + 1 for _ in range(lists)]
    for _ in range(lists):
        if bits.read(1):  # ref_pic_list_modification_flag
            while bits.unsigned() != 3:
                bits.unsigned()
    if picture.weighted[kind == _B]:
        _skip_weights(bits, lengths[:lists], has_chroma=sequence.chroma != 0)


def _skip_weights(bits: Bits, lengths: list[int], *, has_chroma: bool) -> None:
    """Prediction weights (clause 7.3.3.2)."""
    bits.unsigned()
    if has_chroma:
        bits.unsigned()
    for _ in range(sum(lengths)):
        for values in (2, 4) if has_chroma else (2,):
            if bits.read(1):
                for _ in range(values):
                    bits.signed()


def _read_commands(bits: Bits) -> tuple[tuple[int, int, int], ...]:
    """Memory management control operations (clause 7.3.3.3)."""
    commands: list[tuple[int, int, int]] = []
    for _ in range(_MOST_COMMANDS):
        operation = bits.unsigned()
        if operation == 0:
            return tuple(commands)
        first = bits.unsigned() if operation in (1, 2, 3, 4, 6) else 0
        commands.append((operation, first, bits.unsigned() if operation == 3 else 0))
    raise ValueError("the commands do not end")
