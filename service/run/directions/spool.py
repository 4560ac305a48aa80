"""Masks on the disk that come in one order and are read in another, so that memory does not grow with their number."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from service.writers.mask_line import encode_record, mask_of, parse_line
from vos.types import FrameMask, MaskSource


class MaskSpool:
    """A file of mask lines, in memory only their places. Close it after use.

    Args:
        first: Presentation index of the first mask to be written.
        width: Width of the masks in pixels.
        height: Height of the masks in pixels.
        path: File of the lines; None for a temporary file.
        count: Number of lines of this file to keep; there are at least as many.
        step: From the frame of a mask to that of the next one: -1, or 1 for a walk forward.

    Attributes:
        sources: Masks by source.
    """

    def __init__(
        self, first: int, width: int, height: int, path: Path | None = None, count: int = 0, *, step: int = -1
    ) -> None:
        self._first, self._step = first, step
        self._size = width, height
        self._file = _opened(path)
        self._ends = array("q")
        self.sources: Counter[MaskSource] = Counter()
        self._file.seek(0)
        for _ in range(count):
            line = self._file.readline()
            self._note(len(line), MaskSource(parse_line(line)["source"]))
        self._file.truncate(self.size)

    def append(self, mask: FrameMask) -> None:
        """Write the mask of the next frame."""
        assert mask.index == self._first + self._step * len(self._ends)
        line = encode_record(mask) + b"\n"
        self._file.seek(self.size)
        self._file.write(line)
        self._note(len(line), mask.source)

    def __iter__(self) -> Iterator[FrameMask]:
        """Yield the masks that there are now, in the order in which they were written."""
        for place in range(self.count):
            mask = self.mask(self._first + self._step * place)
            assert mask is not None
            yield mask

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame; None if there is none."""
        place = (index - self._first) * self._step
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
    def count(self) -> int:
        """Number of masks."""
        return len(self._ends)

    @property
    def size(self) -> int:
        """Bytes of all masks."""
        return self._ends[-1] if self._ends else 0

    def _note(self, size: int, source: MaskSource) -> None:
        self._ends.append(self.size + size)
        self.sources[source] += 1


def _opened(path: Path | None) -> BinaryIO:
    if path is None:
        return cast(BinaryIO, tempfile.TemporaryFile(prefix="keymask-"))
    path.touch()
    return path.open("r+b")
