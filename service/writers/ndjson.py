"""Masks as NDJSON, one line per frame in the format of `service.writers.mask_line`."""

from __future__ import annotations

from pathlib import Path

from service.writers.mask_line import encode_line
from vos.runtime.durable import make_folder
from vos.types import FrameMask


class RleWriter:
    """Appends one line per frame to `path` and flushes it, so that a reader can follow the file."""

    def __init__(self, path: Path) -> None:
        make_folder(path.parent)
        self._file = path.open("wb")

    def write(self, frame: FrameMask) -> None:
        """Append the frame's line."""
        self._file.write(encode_line(frame) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
