"""The masks of an earlier version of a result, frame by frame, and the changes to them."""

from __future__ import annotations

import re
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from service.writers.mask_line import encode_record, index_of, mask_of, parse_line
from vos.types import FrameMask

_SIZE = re.compile(rb'"size":\[(\d+),(\d+)\]')


class StoredMasks(Protocol):
    """Masks by presentation index."""

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame; None if the result does not have this frame."""


class IndexedMaskLines:
    """Mask lines in files. In memory are the places of the lines, 24 bytes per frame.

    Args:
        files: Files and how many of their bytes count, in presentation order of their frames.
        size: Width and height of the masks in pixels; by default those of the first line that has an object.
    """

    def __init__(self, files: Iterable[tuple[Path, int]], size: tuple[int, int] | None = None) -> None:
        self._paths: list[Path] = []
        self._indices, self._files, self._starts, self._sizes = array("q"), array("l"), array("q"), array("l")
        self._size = (0, 0) if size is None else size
        for path, count in files:
            self._scan(path, count)

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame; None if there is no line for it."""
        place = bisect_left(self._indices, index)
        if place == len(self._indices) or self._indices[place] != index:
            return None
        with self._paths[self._files[place]].open("rb") as file:
            file.seek(self._starts[place])
            line = file.read(self._sizes[place])
        return mask_of(parse_line(line), *self._size)

    @property
    def end(self) -> int:
        """Presentation index after the last frame; 0 without a frame."""
        return self._indices[-1] + 1 if self._indices else 0

    def _scan(self, path: Path, count: int) -> None:
        self._paths.append(path)
        start = 0
        with path.open("rb") as file:
            for line in file:
                if start + len(line) > count or not line.endswith(b"\n"):
                    return
                self._indices.append(index_of(line))
                self._files.append(len(self._paths) - 1)
                self._starts.append(start)
                self._sizes.append(len(line))
                start += len(line)
                if self._size == (0, 0) and (found := _SIZE.search(line)) is not None:
                    self._size = int(found[2]), int(found[1])


class ChangedMasks:
    """Masks that replace those of another version, in a temporary file; in memory are their places.

    Args:
        stored: The other version.
    """

    def __init__(self, stored: StoredMasks) -> None:
        self._stored = stored
        self._file = tempfile.TemporaryFile(prefix="keymask-")  # noqa: SIM115 - closed by `close`
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._size = (0, 0)

    def change(self, mask: FrameMask) -> None:
        """Replace the mask of a frame."""
        line = encode_record(mask)
        self._file.seek(self._end)
        self._file.write(line)
        self._places[mask.index] = self._end, len(line)
        self._end += len(line)
        self._size = mask.labels.shape[1], mask.labels.shape[0]

    def mask(self, index: int) -> FrameMask | None:
        """Return the changed mask of a frame, or that of the other version."""
        if index not in self._places:
            return self._stored.mask(index)
        start, size = self._places[index]
        self._file.seek(start)
        return mask_of(parse_line(self._file.read(size)), *self._size)

    def original(self, index: int) -> FrameMask | None:
        """Return the mask of a frame in the other version."""
        return self._stored.mask(index)

    @property
    def indices(self) -> Iterator[int]:
        """Presentation indices of the changed frames, ascending."""
        return iter(sorted(self._places))

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
