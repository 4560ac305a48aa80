"""Writes the file of masks (`JobFiles.frames`) so that it is good after any interruption."""

from __future__ import annotations

import json
import os
from pathlib import Path

from service.frames import index_of
from service.results.rle import frame_line
from vos.types import FrameMask

_NONE = -1
"""Index of the last frame of an empty file."""
_TAIL = 1 << 16


class FrameLog:
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
