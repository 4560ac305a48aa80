"""Masks on the disk that come in one order and are read in another, so that memory does not grow with their number."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import Counter
from pathlib import Path
from typing import BinaryIO, cast

from service.writers.mask_line import encode_record, mask_of, parse_line
from vos.types import FrameMask, MaskSource


class MaskSpool:
    """A file of mask lines, in memory only their places. Close it after use.

    Args:
        first: Presentation index of the first mask to be written; each mask after it is that of the frame before.
        width: Width of the masks in pixels.
        height: Height of the masks in pixels.
        path: File of the lines; None for a temporary file.
        count: Number of lines of this file to keep; there are at least as many.

    Attributes:
        sources: Masks by source.
    """

    def __init__(self, first: int, width: int, height: int, path: Path | None = None, count: int = 0) -> None:
        self._first = first
        self._size = width, height
        self._file = _opened(path)
        self._ends = array("q")
        self.sources: Counter[MaskSource] = Counter()
        self._file.seek(0)
        for _ in range(count):
            line = self._file.readline()
            self._note(len(line), MaskSource(parse_line(line)["source"]))
        self._file.truncate(self._end)

    def append(self, mask: FrameMask) -> None:
        """Write the mask of the next frame."""
        assert mask.index == self._first - len(self._ends)
        line = encode_record(mask) + b"\n"
        self._file.seek(self._end)
        self._file.write(line)
        self._note(len(line), mask.source)

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame; None if there is none."""
        place = self._first - index
        if not 0 <= place < len(self._ends):
            return None
        start = self._ends[place - 1] if place else 0
        self._file.seek(start)
        return mask_of(parse_line(self._file.read(self._ends[place] - start)), *self._size)

    def sync(self) -> None:
        """Wait until all masks are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; a temporary one is removed."""
        self._file.close()

    @property
    def _end(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _note(self, size: int, source: MaskSource) -> None:
        self._ends.append(self._end + size)
        self.sources[source] += 1


def _opened(path: Path | None) -> BinaryIO:
    if path is None:
        return cast(BinaryIO, tempfile.TemporaryFile(prefix="keymask-"))
    path.touch()
    return path.open("r+b")
