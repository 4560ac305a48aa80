"""Masks on the disk that come in one order and are read in another, so that memory does not grow with their number."""

from __future__ import annotations

import tempfile
from array import array

from service.writers.mask_line import encode_line, mask_of, parse_line
from vos.types import FrameMask


class MaskSpool:
    """A temporary file of mask lines, in memory only their places; use it as a context manager.

    Args:
        first: Presentation index of the first mask to be written; each mask after it is that of the frame before.
        width: Width of the masks in pixels.
        height: Height of the masks in pixels.
    """

    def __init__(self, first: int, width: int, height: int) -> None:
        self._first = first
        self._size = width, height
        self._file = tempfile.TemporaryFile(prefix="keymask-")  # noqa: SIM115 - closed by `close`
        self._ends = array("q")

    def append(self, mask: FrameMask) -> None:
        """Write the mask of the next frame."""
        assert mask.index == self._first - len(self._ends)
        start = self._ends[-1] if self._ends else 0
        line = encode_line(mask)
        self._file.seek(start)
        self._file.write(line)
        self._ends.append(start + len(line))

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame; None if there is none."""
        place = self._first - index
        if not 0 <= place < len(self._ends):
            return None
        start = self._ends[place - 1] if place else 0
        self._file.seek(start)
        return mask_of(parse_line(self._file.read(self._ends[place] - start)), *self._size)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
