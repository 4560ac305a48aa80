"""The mask log of a job: one line per frame, written by workers, read by any process while it grows.

A line is NDJSON as `service.writers.mask_line` formats it, with soft masks if the job keeps them; lines are in
ascending order of the frames' presentation indices, and only lines that end in a newline count. Each attempt at a job
writes a file of its own, which nobody else ever writes to. The job's row lists the files and how much of each counts
(`Job.segments`), so whatever a worker writes after it lost the job counts for nothing. Readers see one log:
`service.storage.mask_log_view`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from service.jobs.types import LogSegment
from service.storage.job_files import JobFiles
from service.storage.mask_log_view import after_last_newline
from service.writers.mask_line import encode_record, index_of, is_valid
from vos.runtime.durable import sync_folder
from vos.types import FrameMask

EMPTY = -1
"""Presentation index of the last frame of an empty log."""


class MaskLog:
    """Writes the segment of one attempt.

    Args:
        path: The file, which is written anew.
        last: Presentation index of the last frame in the segments before it.

    Attributes:
        last: Presentation index of the last frame in the log.
        size: Bytes in the file.
    """

    def __init__(self, path: Path, last: int = EMPTY) -> None:
        self._file = path.open("wb")
        sync_folder(path.parent)
        self.last = last
        self.size = 0

    def append(self, mask: FrameMask) -> None:
        """Write the line of a frame unless the log has it. Readers see it at once."""
        if mask.index > self.last:
            self.copy(mask.index, encode_record(mask))

    def copy(self, index: int, line: bytes) -> None:
        """Write the line of a frame as it is in another log."""
        self.size += self._file.write(line + b"\n")
        self._file.flush()
        self.last = index

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def settle(files: JobFiles, segments: Sequence[LogSegment]) -> tuple[tuple[LogSegment, ...], int]:
    """Determine what counts of the log of a job whose worker is gone, and wait until it is on the disk.

    Args:
        files: Files of the job.
        segments: The log as the job lists it.

    Returns:
        The segments with as many bytes as there are valid lines, without those after a damaged one, and the
        presentation index of the last frame.
    """
    settled: list[LogSegment] = []
    last = EMPTY
    for segment in segments:
        path = files.mask_log(segment.fence)
        size, index = _scan(path) if segment.bytes is None else _measure(path, segment.bytes)
        if size:
            settled.append(LogSegment(segment.fence, size))
            last = index
        if segment.bytes is not None and size < segment.bytes:
            break
    return tuple(settled), last


def _scan(path: Path) -> tuple[int, int]:
    """Return the end of the valid lines at the start of a file that was cut off, and the index of the last one.

    After a power cut, the bytes after the last `MaskLog.sync` may have reached the disk in any order, so a damaged line
    may precede whole ones.
    """
    end, last = 0, EMPTY
    with suppress(FileNotFoundError), path.open("rb") as file:
        os.fsync(file.fileno())
        for line in file:
            if not (line.endswith(b"\n") and is_valid(line)):
                break
            end, last = end + len(line), index_of(line)
    return end, last


def _measure(path: Path, limit: int) -> tuple[int, int]:
    """Return the end of the last valid line in the first `limit` bytes of a file, and the index of that line."""
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            end = min(file.seek(0, os.SEEK_END), limit)
            while end:
                start = after_last_newline(file, end - 1)
                file.seek(start)
                line = file.read(end - start)
                if line.endswith(b"\n") and is_valid(line):
                    return end, index_of(line)
                end = start
    except FileNotFoundError:
        pass
    return 0, EMPTY
