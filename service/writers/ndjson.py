"""Masks as NDJSON with COCO run-length encoding: one line a frame, readable while the run goes on."""

from __future__ import annotations

import json
from pathlib import Path

from service.writers.mask_line import frame_line
from vos.types import FrameMask


class RleWriter:
    """Appends one line a frame to `path` and flushes it, so that a reader can follow the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def write(self, frame: FrameMask) -> None:
        """Append the frame's line."""
        self._file.write(json.dumps(frame_line(frame), separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
