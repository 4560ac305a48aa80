"""The mask log of a job (`JobFiles.mask_log`): written by one worker, read by any process while it grows.

It is an NDJSON file with one line per frame, as `service.writers.mask_line` formats it, in ascending order of the
frames' presentation indices. Only lines that end in a newline count.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import RunError
from service.writers.mask_line import encode_line, index_of, parse_line, without_masks
from vos.types import FrameMask

BLOCK = 1 << 18
"""Bytes that are read at a time. A longer line is a `LongLine`."""
_TAIL = 1 << 16
"""Bytes read at a time when searching backwards for a newline."""
_INDEX_BYTES = 64
"""Bytes of a line that surely contain its index."""
_EMPTY = -1
"""`MaskLog.last` of an empty file."""


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line of more than `BLOCK` bytes, which is too long to be kept in memory.

    Attributes:
        start: Offset of its first byte.
        size: Its bytes, without the newline.
        head: The line without the run-length encodings.
    """

    start: int
    size: int
    head: bytes


class MaskLog:
    """Appends one line per frame. Lines of an earlier process are kept, except a line that it did not finish.

    Args:
        path: The file, created if missing.

    Attributes:
        last: Presentation index of the last frame in the file, -1 if the file is empty.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+")
        self.last = self._truncate_to_valid()

    def append(self, mask: FrameMask) -> None:
        """Write the line of a frame unless the file has it. Readers see it at once."""
        if mask.index > self.last:
            self._file.write(encode_line(mask) + b"\n")
            self._file.flush()
            self.last = mask.index

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._file.seek(0, os.SEEK_END)

    def clear(self) -> None:
        """Remove all lines."""
        self._file.truncate(0)
        self.last = _EMPTY

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _truncate_to_valid(self) -> int:
        """Truncate the file after its last valid line and return the index of that line."""
        end = self._file.seek(0, os.SEEK_END)
        while end:
            start = self._start_of_line(end)
            self._file.seek(start)
            line = self._file.read(end - start)
            if line.endswith(b"\n") and _is_valid(line):
                return index_of(line)
            self._file.truncate(start)
            end = start
        return _EMPTY

    def _start_of_line(self, end: int) -> int:
        """Return the offset at which the line that ends before `end` begins."""
        return _after_last_newline(self._file, end - 1)


def _after_last_newline(file: BinaryIO, end: int) -> int:
    """Return the offset after the last newline before `end`, 0 if there is none."""
    while end:
        start = max(0, end - _TAIL)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def read_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Read complete lines, `BLOCK` bytes at most. Where it returns none, `read_long_line` may find one.

    Args:
        path: The mask log.
        offset: Offset in bytes of the first line.

    Returns:
        The lines without their newlines, and the offset after them. The offset is -1 if the file has become shorter
        than `offset`, because the job was started over.
    """
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                return [], -1
            file.seek(offset)
            block = file.read(BLOCK)
    except FileNotFoundError:
        return [], -1 if offset else 0
    end = block.rfind(b"\n") + 1
    return block[:end].splitlines(), offset + end


def read_long_line(path: Path, offset: int) -> LongLine | None:
    """Return what is known of the line at `offset`, None if it is not long or not complete.

    It holds the whole line for a moment, so few threads should call it at a time.
    """
    try:
        with path.open("rb", buffering=BLOCK) as file:
            if file.seek(0, os.SEEK_END) - offset <= BLOCK:
                return None
            file.seek(offset)
            line = file.readline()
    except FileNotFoundError:
        return None
    if not line.endswith(b"\n"):
        return None
    return LongLine(offset, len(line) - 1, without_masks(line).rstrip(b"\n"))


def read_piece(path: Path, start: int, size: int) -> bytes:
    """Read some bytes of a line.

    Raises:
        RunError: The file has become shorter, because the job was started over.
    """
    with path.open("rb") as file:
        file.seek(start)
        piece = file.read(size)
    if len(piece) < size:
        raise RunError("the mask log was cut off while a line of it was read")
    return piece


def pieces_of(line: LongLine) -> Iterator[tuple[int, int]]:
    """Yield offset and size of the pieces of a line and its newline, `BLOCK` bytes at most."""
    end = line.start + line.size + 1
    return ((start, min(BLOCK, end - start)) for start in range(line.start, end, BLOCK))


def digest_of(path: Path, line: bytes | LongLine) -> str:
    """Return the hexadecimal SHA-256 of a line."""
    if isinstance(line, bytes):
        return hashlib.sha256(line).hexdigest()
    digest = hashlib.sha256()
    for start, size in pieces_of(line):
        digest.update(read_piece(path, start, size))
    return digest.hexdigest()


def frame_of(line: bytes | LongLine) -> int:
    """Return the presentation index of the frame that a line describes."""
    return index_of(line.head if isinstance(line, LongLine) else line)


def iter_lines(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield all lines of a finished log, parsed."""
    for line in file:
        if line.endswith(b"\n"):
            yield parse_line(line)


def find_line(path: Path, index: int) -> bytes | LongLine | None:
    """Return the line of the frame with this presentation index, None if the log does not have it."""
    offset = offset_of(path, index)
    lines, _ = read_lines(path, offset)
    line = lines[0] if lines else read_long_line(path, offset)
    return line if line is not None and frame_of(line) == index else None


def offset_of(path: Path, index: int) -> int:
    """Find the first line whose presentation index is at least `index`, by bisection.

    Returns:
        The offset of the line in bytes; without such a line, the offset at which it will be written.
    """
    try:
        with path.open("rb") as file:
            low = 0
            high = end = _after_last_newline(file, file.seek(0, os.SEEK_END))
            while low < high:
                middle = (low + high) // 2
                start = _next_start(file, middle)
                file.seek(start)
                if start < end and index_of(file.read(_INDEX_BYTES)) < index:
                    low = middle + 1
                else:
                    high = middle
            return _next_start(file, low)
    except FileNotFoundError:
        return 0


def _next_start(file: BinaryIO, position: int) -> int:
    """Return the offset of the first line that begins at `position` or later."""
    file.seek(max(0, position - 1))
    while position and (part := file.readline(BLOCK)) and not part.endswith(b"\n"):
        pass
    return file.tell()


def _is_valid(line: bytes) -> bool:
    try:
        parse_line(line)
    except ValueError:
        return False
    return True
