"""Masks of an earlier run, read one at a time from its lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from service.writers.mask_line import index_of, mask_of, parse_line
from vos.types import FrameMask


class StoredMasks(Protocol):
    """Masks by presentation index."""

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame, None if there is none."""


class IndexedMaskLines:
    """Masks in files of mask lines; only their places are kept in memory.

    Args:
        files: The files, and how many bytes of each count.
        size: Width and height of the masks.
    """

    def __init__(self, files: Iterable[tuple[Path, int]], size: tuple[int, int]) -> None:
        self._size = size
        self._places: dict[int, tuple[Path, int]] = {}
        for path, end in files:
            start = 0
            with path.open("rb") as file:
                for line in file:
                    if start + len(line) > end:
                        break
                    self._places[index_of(line)] = (path, start)
                    start += len(line)

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame, None if there is none."""
        if index not in self._places:
            return None
        path, start = self._places[index]
        with path.open("rb") as file:
            file.seek(start)
            return mask_of(parse_line(file.readline()), *self._size)
