"""A zip written from front to back (PKWARE APPNOTE 6.3.10), so that it can be sent while it is being made.

`zipfile` seeks back to complete each entry, or puts its size into a trailing record that some readers do not know. Here
each entry is complete when it is added, so its size and checksum precede it. Entries are compressed only on request.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

_VERSION, _VERSION_64 = 20, 45
_STORED, _DEFLATED = 0, 8
_DATE = 1 << 5 | 1
"""1980-01-01, the earliest date: the same entries give the same bytes."""
_MODE = 0o100644 << 16
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF
"""Placeholders for values that need more bits and are stored elsewhere (4.5.3)."""


class StoredZip:
    """Writes entries to a file; holds 46 bytes and the name per entry until `close`.

    Args:
        file: File to write, without seeking.
        offset: Bytes in the file so far.
    """

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        self._file = file
        self._offset = offset
        self._directory = bytearray()
        self._count = 0

    def add(self, name: str, data: bytes, *, deflate: bool = False) -> None:
        """Write an entry of less than 4 GiB with an ASCII name, compressed with `deflate`."""
        encoded = name.encode("ascii")
        method, size, checksum = (_DEFLATED if deflate else _STORED), len(data), zlib.crc32(data)
        if deflate:
            data = zlib.compress(data, level=1, wbits=-zlib.MAX_WBITS)
        about = struct.pack("<4H3L", 0, method, 0, _DATE, checksum, len(data), size)
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
        """Write the directory, which makes the file a zip; the file stays open."""
        start, size, count = self._offset, len(self._directory), self._count
        self._file.write(self._directory)
        if count >= _MOST_16 or start >= _MOST_32:
            made, needed = 3 << 8 | _VERSION_64, _VERSION_64
            self._file.write(struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, made, needed, 0, 0, count, count, size, start))
            self._file.write(struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1))
        few = min(count, _MOST_16)
        self._file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, few, few, size, min(start, _MOST_32), 0))
