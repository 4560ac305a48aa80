"""The mask log of a job as readers see it: its segments as one log (see `service.storage.mask_log`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import RunError
from service.jobs.types import LogSegment
from service.storage.job_files import JobFiles
from service.writers.mask_line import index_of, parse_line, without_masks, without_soft

BLOCK = 1 << 18
"""Bytes that are read at a time. A longer line is a `LongLine`."""
_TAIL = 1 << 16
"""Bytes read at a time when searching backwards for a newline."""
_INDEX_BYTES = 64
"""Bytes of a line that surely contain its index."""


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line of more than `BLOCK` bytes, which is too long to be kept in memory.

    Attributes:
        start: Offset of its first byte.
        size: Its bytes, without soft masks and newline.
        end: Offset after its newline.
        head: The line without the run-length encodings.
    """

    start: int
    size: int
    end: int
    head: bytes

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Yield offset and size of the pieces of the line, without soft masks and newline; `BLOCK` bytes at most."""
        end = self.start + self.size
        return ((start, min(BLOCK, end - start)) for start in range(self.start, end, BLOCK))


def iter_lines(file: BinaryIO, size: int) -> Iterator[dict[str, Any]]:
    """Yield the lines in the first `size` bytes of a file, parsed."""
    end = 0
    for line in file:
        end += len(line)
        if end > size or not line.endswith(b"\n"):
            return
        yield parse_line(line)


def frame_of(line: bytes | LongLine) -> int:
    """Return the presentation index of the frame that a line describes."""
    return index_of(line.head if isinstance(line, LongLine) else line)


@dataclass(frozen=True, slots=True)
class MaskLogView:
    """A job's mask log. Offsets are in bytes of all segments together.

    Attributes:
        files: Files of the job.
        segments: What counts, as the job lists it.
    """

    files: JobFiles
    segments: tuple[LogSegment, ...]

    def continues(self, earlier: MaskLogView) -> bool:
        """Return whether this log has all segments of an earlier one, so that offsets into that one hold."""
        before = [segment.fence for segment in earlier.segments]
        return before == [segment.fence for segment in self.segments][: len(before)]

    def size(self) -> int:
        """Return the number of bytes so far."""
        return sum(part.size for part in self._parts())

    def share_of_masks(self) -> float:
        """Return the share of the log that lines take without soft masks, by its first block."""
        lines, end = self.read_lines(0)
        return sum(len(line) + 1 for line in lines) / end if end > 0 else 1.0

    def read_lines(self, offset: int) -> tuple[list[bytes], int]:
        """Read complete lines, `BLOCK` bytes at most. Where it returns none, `read_long_line` may find one.

        Args:
            offset: Offset of the first line.

        Returns:
            The lines without soft masks and newlines, and the offset after them. The offset is -1 if the log has become
            shorter than `offset`, because the job was started over.
        """
        end = 0
        for part in self._parts():
            if offset < (end := part.start + part.size):
                block = part.read(offset, min(BLOCK, end - offset))
                size = block.rfind(b"\n") + 1
                return [without_soft(line) for line in block[:size].splitlines()], offset + size
        return [], -1 if offset > end else offset

    def read_long_line(self, offset: int) -> LongLine | None:
        """Return what is known of the line at `offset`, None if it is not long or not complete.

        It holds the line without soft masks for a moment, so few threads should call it at a time.
        """
        for part in self._parts():
            if offset < (end := part.start + part.size):
                return part.read_long_line(offset) if end - offset > BLOCK else None
        return None

    def read_piece(self, start: int, size: int) -> bytes:
        """Read some bytes of a line.

        Raises:
            RunError: The log has become shorter, because the job was started over.
        """
        for part in self._parts():
            if start < part.start + part.size:
                piece = part.read(start, size)
                if len(piece) == size:
                    return piece
        raise RunError("the mask log was cut off while a line of it was read")

    def digest_of(self, line: bytes | LongLine) -> str:
        """Return the hexadecimal SHA-256 of a line without soft masks."""
        if isinstance(line, bytes):
            return hashlib.sha256(line).hexdigest()
        digest = hashlib.sha256()
        for start, size in line.pieces():
            digest.update(self.read_piece(start, size))
        return digest.hexdigest()

    def iter_lines(self) -> Iterator[dict[str, Any]]:
        """Yield all lines, parsed."""
        for path, size in self.files_and_sizes():
            with path.open("rb") as file:
                yield from iter_lines(file, size)

    def files_and_sizes(self) -> tuple[tuple[Path, int], ...]:
        """Return the files of the log and how many bytes of each count at this moment, for `iter_lines`."""
        return tuple((part.path, part.size) for part in self._parts() if part.size)

    def locate(self, offset: int) -> tuple[Path, int]:
        """Return the file that holds the line at an offset, and its offset in the file.

        Raises:
            RunError: The log has become shorter, because the job was started over.
        """
        for part in self._parts():
            if offset < part.start + part.size:
                return part.path, offset - part.start
        raise RunError("the mask log was cut off while a line of it was read")

    def find_line(self, index: int) -> bytes | LongLine | None:
        """Return the line of the frame with this presentation index, None if the log does not have it."""
        offset = self.offset_of(index)
        lines, _ = self.read_lines(offset)
        line = lines[0] if lines else self.read_long_line(offset)
        return line if line is not None and frame_of(line) == index else None

    def offset_of(self, index: int) -> int:
        """Find the first line whose presentation index is at least `index`, by bisection.

        Returns:
            The offset of the line; without such a line, the offset at which it will be written.
        """
        end = 0
        for part in self._parts():
            end = part.start + part.size
            if (found := _bisect(part, index)) < part.size:
                return part.start + found
        return end

    def _parts(self) -> Iterator[_Part]:
        """Yield what counts of each file at this moment."""
        start = 0
        for segment in self.segments:
            part = _Part(self.files.mask_log(segment.fence), start, self.files.log_size(segment))
            yield part
            start += part.size


@dataclass(frozen=True, slots=True)
class _Part:
    """What counts of the file of a segment: `size` bytes, the first of which is at `start` of the log."""

    path: Path
    start: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes at an offset into the log; none if the file is gone."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset - self.start)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def read_long_line(self, offset: int) -> LongLine | None:
        """Read the line at an offset into the log; None if it is not complete."""
        masks, end = bytearray(), offset
        with self.path.open("rb", buffering=BLOCK) as file:
            file.seek(offset - self.start)
            while part := file.readline(BLOCK):
                if len(masks) == end - offset:  # no soft masks so far
                    masks += without_soft(part)
                end += len(part)
                if part.endswith(b"\n"):
                    return LongLine(offset, len(masks), end, without_masks(bytes(masks)))
        return None


def _bisect(part: _Part, index: int) -> int:
    """Return the offset in the file of the first line whose index is at least `index`, else the end of its lines."""
    try:
        with part.path.open("rb") as file:
            low = 0
            high = end = after_last_newline(file, part.size)
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


def after_last_newline(file: BinaryIO, end: int) -> int:
    """Return the offset after the last newline before `end`, 0 if there is none."""
    while end > 0:
        start = max(0, end - _TAIL)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _next_start(file: BinaryIO, position: int) -> int:
    """Return the offset of the first line that begins at `position` or later."""
    file.seek(max(0, position - 1))
    while position and (part := file.readline(BLOCK)) and not part.endswith(b"\n"):
        pass
    return file.tell()
