"""Bits of an H.264 header, one field after the other."""

from __future__ import annotations

_MOST_BYTES = 512
_MOST_ZEROS = 31
"""Of ue(v), whose values end at 2^32 - 2 (clause 9.1)."""


class Bits:
    """Reads the RBSP of a NAL unit (clause 7.3.1), header byte left out; no more than the start of it.

    Raises:
        ValueError: A field lies beyond the end, or a number is larger than the standard has any.
    """

    def __init__(self, nal: bytes) -> None:
        data = nal[1:_MOST_BYTES].replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        """u(n)."""
        if count > self._left:
            raise ValueError("the header ends early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned(self) -> int:
        """ue(v), clause 9.1."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > _MOST_ZEROS:
                raise ValueError("the number is too large")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """se(v), clause 9.1.1."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)
