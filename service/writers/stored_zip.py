"""A zip that is written from front to back (PKWARE APPNOTE 6.3.10), so that it can be sent while it is being made.

`zipfile` goes back to complete each entry, or leaves its size to a record behind it that some readers do not know. What
is added here is whole already, and its size and checksum stand in front of it. Nothing is compressed.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

_VERSION, _VERSION_64 = 20, 45
_DATE = 1 << 5 | 1
"""1980-01-01, the earliest there is: the same entries give the same bytes."""
_MODE = 0o100644 << 16
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF
"""Stand where the true value needs more bits and is given elsewhere (4.5.3)."""


class StoredZip:
    """Writes entries to a file; holds 46 bytes and the name of each until `close`.

    Args:
        file: Where to write; it is never sought.
        offset: Bytes in the file so far.
    """

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        self._file = file
        self._offset = offset
        self._directory = bytearray()
        self._count = 0

    def add(self, name: str, data: bytes) -> None:
        """Write an entry, less than 4 GiB; the name is ASCII."""
        encoded = name.encode("ascii")
        about = struct.pack("<4H3L", 0, 0, 0, _DATE, zlib.crc32(data), len(data), len(data))
        self._file.write(
            struct.pack("<4sH", b"PK\3\4", _VERSION) + about + struct.pack("<2H", len(encoded), 0) + encoded
        )
        self._file.write(data)
        far = struct.pack("<2HQ", 1, 8, self._offset) if self._offset >= _MOST_32 else b""
        version = _VERSION_64 if far else _VERSION
        self._directory += struct.pack("<4s2H", b"PK\1\2", 3 << 8 | version, version) + about
        self._directory += struct.pack("<5H2L", len(encoded), len(far), 0, 0, 0, _MODE, min(self._offset, _MOST_32))
        self._directory += encoded + far
        self._offset += 30 + len(encoded) + len(data)
        self._count += 1

    def close(self) -> None:
        """Write the directory, without which the file is no zip; the file stays open."""
        start, size, count = self._offset, len(self._directory), self._count
        self._file.write(self._directory)
        if count >= _MOST_16 or start >= _MOST_32:
            made, needed = 3 << 8 | _VERSION_64, _VERSION_64
            self._file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, made, needed, 0, 0, count, count, size, start))
            self._file.write(struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1))
        few = min(count, _MOST_16)
        self._file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, few, few, size, min(start, _MOST_32), 0))
