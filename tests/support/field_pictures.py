"""Write H.264 field pictures (PAFF), which x264 cannot encode.

The fields of the first frame are raw samples (I_PCM). Each later field is the previous field of the same parity,
displaced as a whole (P_L0_16x16 without residual). So every sample of every frame is known. Clause numbers are those of
ITU-T H.264 (08/2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PlaneArray = npt.NDArray[np.uint8]

_NAL_IDR, _NAL_SLICE, _NAL_SPS, _NAL_PPS = 5, 1, 7, 8
_PROFILE_MAIN, _LEVEL_3 = 77, 30
_SLICES_ALL_P, _SLICES_ALL_I = 5, 7
_MB_I_PCM = 25


class BitWriter:
    """Writes the syntax elements of a NAL unit."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, value: int, count: int) -> BitWriter:
        """Write an unsigned integer of `count` bits."""
        self._bits.append(f"{value:0{count}b}")
        return self

    def ue(self, *values: int) -> BitWriter:
        """Write unsigned Exp-Golomb codes (clause 9.1)."""
        for value in values:
            self.u(value + 1, 2 * (value + 1).bit_length() - 1)
        return self

    def se(self, *values: int) -> BitWriter:
        """Write signed Exp-Golomb codes (clause 9.1.1)."""
        return self.ue(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def samples(self, *planes: PlaneArray) -> BitWriter:
        """Write pcm_alignment_zero_bit, then the samples in raster order."""
        self._bits.append("0" * (-sum(map(len, self._bits)) % 8))
        for plane in planes:
            self._bits.extend(f"{sample:08b}" for sample in plane.ravel())
        return self

    def nal(self, nal_unit_type: int, nal_ref_idc: int = 3) -> bytes:
        """The NAL unit with start code, trailing bits and emulation prevention (clauses 7.3.2.11 and 7.4.1)."""
        bits = "".join(self._bits) + "1"
        bits += "0" * (-len(bits) % 8)
        payload, zeros = bytearray(), 0
        for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
            if zeros >= 2 and byte <= 3:
                payload.append(3)
                zeros = 0
            payload.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\x00\x00\x00\x01" + bytes([nal_ref_idc << 5 | nal_unit_type]) + bytes(payload)


@dataclass(frozen=True)
class FieldPictures:
    """A stream of field pictures and its decoded frames.

    Attributes:
        units: Access units of the two fields of each frame, in Annex B format.
        frames: uint8 [height, width] luma of each frame.
    """

    units: list[tuple[bytes, bytes]]
    frames: list[PlaneArray]

    @property
    def annex_b(self) -> bytes:
        """The stream as a raw H.264 file."""
        return b"".join(field for fields in self.units for field in fields)


def write(
    first: PlaneArray, motion: tuple[int, int], count: int, *, is_second_predicted: bool = False
) -> FieldPictures:
    """Write a stream whose camera moves by whole pixels.

    Args:
        first: Luma uint8 [height, width] of the first frame; the width is a multiple of 16, the height of 32.
        motion: (x, y) in pixels from a pixel to its place in the previous frame. y is even.
        count: Number of frames.
        is_second_predicted: Whether the second field of the first frame is predicted from the first field, as a copy.
    """
    height, width = first.shape
    x, y = motion[0], motion[1] // 2
    macroblocks = (width // 16) * (height // 32)
    frames, units = [first.copy()], [_first_frame(first)]
    if is_second_predicted:
        frames[0][1::2] = first[0::2]
        units[0] = units[0][0], _displaced_field(0, 1, macroblocks, (0, 0))
    for frame_num in range(1, count):
        displaced = np.empty_like(first)
        for parity in (0, 1):
            displaced[parity::2] = _displaced(frames[-1][parity::2], x, y)
        frames.append(displaced)
        fields = (_displaced_field(frame_num, parity, macroblocks, (4 * x, 4 * y)) for parity in (0, 1))
        units.append((next(fields), next(fields)))
    return FieldPictures(units, frames)


def _displaced(field: PlaneArray, x: int, y: int) -> PlaneArray:
    """A field whose samples come from (x, y) away, with the edges repeated (clause 8.4.2.2.1)."""
    rows, columns = (np.clip(np.arange(n) + step, 0, n - 1) for n, step in zip(field.shape, (y, x), strict=True))
    return field[np.ix_(rows, columns)]


def _first_frame(luma: PlaneArray) -> tuple[bytes, bytes]:
    height, width = luma.shape
    top = _sequence(width // 16, height // 32) + _picture() + _raw_field(luma[0::2], is_bottom=False)
    return top, _raw_field(luma[1::2], is_bottom=True)


def _sequence(columns: int, rows: int) -> bytes:
    """Sequence parameter set (clause 7.3.2.1.1) for fields of `columns` x `rows` macroblocks."""
    bits = BitWriter().u(_PROFILE_MAIN, 8).u(0, 8).u(_LEVEL_3, 8)
    bits.ue(0, 4)  # seq_parameter_set_id, log2_max_frame_num_minus4
    bits.ue(2)  # pic_order_cnt_type: output order is decode order
    bits.ue(2).u(0, 1)  # max_num_ref_frames (previous and current frame), no gaps in frame_num
    bits.ue(columns - 1, rows - 1)
    return bits.u(0b001_00, 5).nal(_NAL_SPS)  # fields, no MBAFF, direct 8x8, no cropping, no VUI


def _picture() -> bytes:
    """Picture parameter set (clause 7.3.2.2): CAVLC, one reference per list."""
    bits = BitWriter().ue(0, 0).u(0b00, 2).ue(0, 0, 0).u(0b000, 3).se(0, 0, 0)
    return bits.u(0b100, 3).nal(_NAL_PPS)


def _header(slice_type: int, frame_num: int, *, is_bottom: bool, is_idr: bool = False) -> BitWriter:
    """Slice header (clause 7.3.3) of a field that is a reference."""
    bits = BitWriter().ue(0, slice_type, 0).u(frame_num % 256, 8).u(1, 1).u(is_bottom, 1)
    if is_idr:
        bits.ue(0)
    if slice_type == _SLICES_ALL_P:
        bits.u(0b00, 2)  # default list length, no list modification
    bits.u(0b00, 2) if is_idr else bits.u(0, 1)  # sliding window marking
    return bits.se(0).ue(1)  # slice_qp_delta; no deblocking


def _raw_field(luma: PlaneArray, *, is_bottom: bool) -> bytes:
    """A gray field of I_PCM macroblocks. Only the first field of a frame may be IDR."""
    bits = _header(_SLICES_ALL_I, 0, is_bottom=is_bottom, is_idr=not is_bottom)
    gray = np.full((2, 8, 8), 128, np.uint8)
    for row in range(0, luma.shape[0], 16):
        for column in range(0, luma.shape[1], 16):
            bits.ue(_MB_I_PCM).samples(luma[row : row + 16, column : column + 16], gray)
    return bits.nal(_NAL_SLICE if is_bottom else _NAL_IDR)


def _displaced_field(frame_num: int, parity: int, macroblocks: int, vector: tuple[int, int]) -> bytes:
    """The previous field of the same parity, displaced; `vector` (x, y) is in quarter samples of the field.

    The first macroblock's vector is predicted as 0, all other vectors from their neighbors (clause 8.4.1.3).
    """
    bits = _header(_SLICES_ALL_P, frame_num, is_bottom=parity == 1)
    for index in range(macroblocks):
        bits.ue(0, 0)  # mb_skip_run, mb_type P_L0_16x16
        bits.se(*(vector if index == 0 else (0, 0))).ue(0)  # coded_block_pattern: no residual
    return bits.nal(_NAL_SLICE)
