"""The mask log of a job (`JobFiles.mask_log`): written by one worker, read by any process while it grows.

It is an NDJSON file with one line per frame, as `service.writers.mask_line` formats it, in ascending order of the
frames' presentation indices. Only lines that end in a newline count.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from service.writers.mask_line import encode_line, index_of, parse_line
from vos.types import FrameMask

BLOCK = 1 << 18
"""Bytes that `read_lines` reads at a time."""
_TAIL = 1 << 16
"""Bytes read at a time when searching backwards for a newline."""
_EMPTY = -1
"""`MaskLog.last` of an empty file."""


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
        position = end - 1
        while position:
            start = max(0, position - _TAIL)
            self._file.seek(start)
            newline = self._file.read(position - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            position = start
        return 0


def read_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Read about `BLOCK` bytes of complete lines, and at least one line if there is one.

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
            if len(block) == BLOCK and b"\n" not in block:
                block += file.readline()
    except FileNotFoundError:
        return [], -1 if offset else 0
    end = block.rfind(b"\n") + 1
    return block[:end].splitlines(), offset + end


def iter_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield all lines of a finished log, parsed."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield parse_line(line)


def find_line(path: Path, index: int) -> bytes | None:
    """Return the line of the frame with this presentation index, None if the log does not have it."""
    lines, _ = read_lines(path, offset_of(path, index))
    return lines[0] if lines and index_of(lines[0]) == index else None


def offset_of(path: Path, index: int) -> int:
    """Find the first line whose presentation index is at least `index`, by bisection.

    Returns:
        The offset of the line in bytes; without such a line, the offset at which it will be written.
    """
    try:
        with path.open("rb") as file:
            low, high = 0, file.seek(0, os.SEEK_END)
            while low < high:
                middle = (low + high) // 2
                _, line = _next_line(file, middle)
                if line.endswith(b"\n") and index_of(line) < index:
                    low = middle + 1
                else:
                    high = middle
            return _next_line(file, low)[0]
    except FileNotFoundError:
        return 0


def _next_line(file: BinaryIO, position: int) -> tuple[int, bytes]:
    """Return the offset and the bytes of the first line that begins at `position` or later."""
    file.seek(max(0, position - 1))
    if position:
        file.readline()
    return file.tell(), file.readline()


def _is_valid(line: bytes) -> bool:
    try:
        parse_line(line)
    except ValueError:
        return False
    return True
