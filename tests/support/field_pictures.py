"""A writer of H.264 field pictures (PAFF), which no encoder at hand makes.

The first frame's fields are raw samples (I_PCM). Each later field is the same parity's field before, moved as a whole
(P_L0_16x16 without residual). So every frame is known to the sample, and any decoder can be held against it. Clause
numbers are those of ITU-T H.264 (08/2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PlaneArray = npt.NDArray[np.uint8]

_IDR, _SLICE, _SPS, _PPS = 5, 1, 7, 8
_MAIN, _LEVEL = 77, 30
_ALL_P, _ALL_I = 5, 7
_I_PCM = 25


class BitWriter:
    """Fields of a NAL unit, one after the other."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def put(self, value: int, count: int) -> BitWriter:
        """u(n)."""
        self._bits.append(f"{value:0{count}b}")
        return self

    def unsigned(self, *values: int) -> BitWriter:
        """ue(v), clause 9.1."""
        for value in values:
            self.put(value + 1, 2 * (value + 1).bit_length() - 1)
        return self

    def signed(self, *values: int) -> BitWriter:
        """se(v), clause 9.1.1."""
        return self.unsigned(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def samples(self, *planes: PlaneArray) -> BitWriter:
        """pcm_alignment_zero_bit, then samples in raster order."""
        self._bits.append("0" * (-sum(map(len, self._bits)) % 8))
        for plane in planes:
            self._bits.extend(f"{sample:08b}" for sample in plane.ravel())
        return self

    def nal(self, kind: int, importance: int = 3) -> bytes:
        """The NAL unit with its start code, trailing bits and emulation prevention (clauses 7.3.2.11 and 7.4.1)."""
        bits = "".join(self._bits) + "1"
        bits += "0" * (-len(bits) % 8)
        payload, zeros = bytearray(), 0
        for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
            if zeros >= 2 and byte <= 3:
                payload.append(3)
                zeros = 0
            payload.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\x00\x00\x00\x01" + bytes([importance << 5 | kind]) + bytes(payload)


@dataclass(frozen=True)
class FieldPictures:
    """A stream of field pictures and what it shows.

    Attributes:
        units: Of each frame its two access units, one a field; Annex B.
        frames: uint8 [height, width] luma of each frame.
    """

    units: list[tuple[bytes, bytes]]
    frames: list[PlaneArray]

    @property
    def annex_b(self) -> bytes:
        """The stream as one file."""
        return b"".join(field for fields in self.units for field in fields)


def write(
    first: PlaneArray, motion: tuple[int, int], count: int, *, is_second_predicted: bool = False
) -> FieldPictures:
    """A camera that moves in whole pixels.

    Args:
        first: uint8 [height, width], luma of the first frame; width a multiple of 16, height of 32.
        motion: (x, y) pixels from a pixel to where it was in the frame before; y even, since it counts in both fields.
        count: Frames.
        is_second_predicted: Whether the first frame's second field is a copy of the first one, predicted from it.
    """
    height, width = first.shape
    x, y = motion[0], motion[1] // 2
    macroblocks = (width // 16) * (height // 32)
    frames, units = [first.copy()], [_first_frame(first)]
    if is_second_predicted:
        frames[0][1::2] = first[0::2]
        units[0] = units[0][0], _moving_field(0, 1, macroblocks, (0, 0))
    for number in range(1, count):
        moved = np.empty_like(first)
        for parity in (0, 1):
            moved[parity::2] = _moved(frames[-1][parity::2], x, y)
        frames.append(moved)
        fields = (_moving_field(number, parity, macroblocks, (4 * x, 4 * y)) for parity in (0, 1))
        units.append((next(fields), next(fields)))
    return FieldPictures(units, frames)


def _moved(field: PlaneArray, x: int, y: int) -> PlaneArray:
    """A field whose samples come from (x, y) further on, its edges repeated (clause 8.4.2.2.1)."""
    rows, columns = (np.clip(np.arange(n) + step, 0, n - 1) for n, step in zip(field.shape, (y, x), strict=True))
    return field[np.ix_(rows, columns)]


def _first_frame(luma: PlaneArray) -> tuple[bytes, bytes]:
    height, width = luma.shape
    top = _sequence(width // 16, height // 32) + _picture() + _raw_field(luma[0::2], is_bottom=False)
    return top, _raw_field(luma[1::2], is_bottom=True)


def _sequence(columns: int, rows: int) -> bytes:
    """Sequence parameter set (clause 7.3.2.1.1) of frames of `columns` x 2 `rows` macroblocks."""
    bits = BitWriter().put(_MAIN, 8).put(0, 8).put(_LEVEL, 8)
    bits.unsigned(0, 4)  # number; 8 bits of frame_num
    bits.unsigned(2)  # output order is decode order
    bits.unsigned(2).put(0, 1)  # reference frames: the one before, and the one whose first field is there; no gaps
    bits.unsigned(columns - 1, rows - 1)
    return bits.put(0b001_00, 5).nal(_SPS)  # fields, no MBAFF, direct 8x8; no cropping, no VUI


def _picture() -> bytes:
    """Picture parameter set (clause 7.3.2.2): CAVLC, one reference."""
    bits = BitWriter().unsigned(0, 0).put(0b00, 2).unsigned(0, 0, 0).put(0b000, 3).signed(0, 0, 0)
    return bits.put(0b100, 3).nal(_PPS)


def _header(kind: int, number: int, *, is_bottom: bool, is_idr: bool = False) -> BitWriter:
    """Slice header (clause 7.3.3) of a field that is a reference."""
    bits = BitWriter().unsigned(0, kind, 0).put(number % 256, 8).put(1, 1).put(is_bottom, 1)
    if is_idr:
        bits.unsigned(0)
    if kind == _ALL_P:
        bits.put(0b00, 2)  # as many references as the picture parameters say, in the initial order
    bits.put(0b00, 2) if is_idr else bits.put(0, 1)  # marking: a sliding window
    return bits.signed(0).unsigned(1)  # quantiser; no deblocking


def _raw_field(luma: PlaneArray, *, is_bottom: bool) -> bytes:
    """A field of I_PCM macroblocks, grey; the first one is an IDR picture, the second must not be one."""
    bits = _header(_ALL_I, 0, is_bottom=is_bottom, is_idr=not is_bottom)
    grey = np.full((2, 8, 8), 128, np.uint8)
    for row in range(0, luma.shape[0], 16):
        for column in range(0, luma.shape[1], 16):
            bits.unsigned(_I_PCM).samples(luma[row : row + 16, column : column + 16], grey)
    return bits.nal(_SLICE if is_bottom else _IDR)


def _moving_field(number: int, parity: int, macroblocks: int, vector: tuple[int, int]) -> bytes:
    """A field that is the one of its parity before, moved; vector (x, y) in quarter samples of the field.

    The first macroblock's vector is predicted as 0, those of the others as that of their neighbours (clause 8.4.1.3).
    """
    bits = _header(_ALL_P, number, is_bottom=parity == 1)
    for index in range(macroblocks):
        bits.unsigned(0, 0)  # none skipped; P_L0_16x16
        bits.signed(*(vector if index == 0 else (0, 0))).unsigned(0)  # no residual
    return bits.nal(_SLICE)
