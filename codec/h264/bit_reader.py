"""Read the syntax elements of an H.264 header (ITU-T H.264, clauses 7.2 and 9.1)."""

from __future__ import annotations

_MAX_BYTES = 512
_MAX_LEADING_ZEROS = 31
"""Longest prefix of ue(v), whose largest value is 2^32 - 2 (clause 9.1)."""


class BitReader:
    """Reads the RBSP of a NAL unit (clause 7.3.1) from the byte after its header, up to 512 bytes.

    Methods have the names of the descriptors in the standard's syntax tables: u(n), ue(v), se(v).

    Raises:
        ValueError: A syntax element lies beyond the end of the data or exceeds the standard's range.
    """

    def __init__(self, nal: bytes) -> None:
        data = nal[1:_MAX_BYTES].replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(data, "big")
        self._bits_left = len(data) * 8

    def u(self, bits: int) -> int:
        """Read an unsigned integer of `bits` bits."""
        if bits > self._bits_left:
            raise ValueError("the header ends early")
        self._bits_left -= bits
        return self._value >> self._bits_left & ((1 << bits) - 1)

    def flag(self) -> bool:
        """Read one bit as a truth value."""
        return bool(self.u(1))

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb code (clause 9.1)."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > _MAX_LEADING_ZEROS:
                raise ValueError("the number is too large")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Read a signed Exp-Golomb code (clause 9.1.1)."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)
