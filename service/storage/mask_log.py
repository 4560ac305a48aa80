"""Reads the file of masks (`JobFiles.frames`, one line of JSON a frame, indices ascending) also while it grows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from service.writers.mask_line import frame_line
from vos.types import FrameMask

BLOCK = 1 << 18
"""Bytes that are read at a time."""
_INDEX = re.compile(rb'\{"index":\s*(\d+)')


def index_of(line: bytes) -> int:
    """Presentation index of the frame that a line describes."""
    match = _INDEX.match(line)
    if match is None:
        raise ValueError(f"a line of masks begins with {line[:40]!r}")
    return int(match[1])


def read_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Whole lines from `offset` on, about `BLOCK` bytes of them (at least one line if there is one).

    Returns:
        The lines without their newlines, and the offset after them; -1 if the file has become shorter than `offset`,
        as when a job is started over.
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


def offset_of(path: Path, index: int) -> int:
    """Offset of the first line whose frame is not before `index`, found by bisection; the end if there is none yet."""
    try:
        with path.open("rb") as file:
            low, high = 0, file.seek(0, os.SEEK_END)
            while low < high:
                middle = (low + high) // 2
                _, line = _line_from(file, middle)
                if line.endswith(b"\n") and index_of(line) < index:
                    low = middle + 1
                else:
                    high = middle
            return _line_from(file, low)[0]
    except FileNotFoundError:
        return 0


def _line_from(file: BinaryIO, place: int) -> tuple[int, bytes]:
    """The first line that begins at `place` or after it: its offset and bytes."""
    file.seek(max(0, place - 1))
    if place:
        file.readline()
    return file.tell(), file.readline()


def find_line(path: Path, index: int) -> bytes | None:
    """The line of a frame, None if it is not there (yet)."""
    lines, _ = read_lines(path, offset_of(path, index))
    return lines[0] if lines and index_of(lines[0]) == index else None


def each_line(path: Path) -> Iterator[dict[str, Any]]:
    """All lines of a finished file, parsed."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


_NONE = -1
"""Index of the last frame of an empty file."""


_TAIL = 1 << 16


class MaskLog:
    """Appends one line a frame. What an earlier process left is kept; a line that it could not finish is cut off.

    Attributes:
        last: Presentation index of the last frame in the file, -1 if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+")
        self.last = self._repair()

    def append(self, mask: FrameMask) -> None:
        """Write a frame's line, unless it is already there; readers see it at once."""
        if mask.index > self.last:
            line = json.dumps(frame_line(mask), separators=(",", ":")).encode() + b"\n"
            self._file.write(line)
            self._file.flush()
            self.last = mask.index

    def clear(self) -> None:
        """Start over."""
        self._file.truncate(0)
        self.last = _NONE

    def sync(self) -> None:
        """Bring everything to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _repair(self) -> int:
        """Cut the file after its last good line; gives that line's index."""
        end = self._file.seek(0, os.SEEK_END)
        while end:
            start = self._start_of_line(end)
            self._file.seek(start)
            line = self._file.read(end - start)
            if line.endswith(b"\n") and _is_good(line):
                return index_of(line)
            self._file.truncate(start)
            end = start
        return _NONE

    def _start_of_line(self, end: int) -> int:
        """Where the line begins whose last byte is before `end`."""
        place = end - 1
        while place:
            start = max(0, place - _TAIL)
            self._file.seek(start)
            newline = self._file.read(place - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            place = start
        return 0


def _is_good(line: bytes) -> bool:
    try:
        json.loads(line)
        index_of(line)
    except ValueError:
        return False
    return True
