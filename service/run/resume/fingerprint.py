"""How a run knows its own results: a digest of its inputs and options."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SAMPLE_BYTES = 1 << 20
"""Bytes at the beginning and at the end of a file that identify it, together with its size."""


def digest_of(inputs: Iterable[Path], *about: Any) -> str:
    """Return a digest of input files and of values that become JSON or text.

    Of a file, its size and its first and last MiB count; of a folder, names, sizes and times of its files. So the
    digest of a large video is quick to take, and a copy of the video has the same.
    """
    parts = [_identity(path) for path in inputs]
    return hashlib.sha256(json.dumps([parts, about], sort_keys=True, default=str).encode()).hexdigest()


def _identity(path: Path) -> Any:
    try:
        if path.is_dir():
            files = [(entry.name, entry.stat()) for entry in os.scandir(path) if entry.is_file()]
            return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in files)
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            digest = hashlib.sha256(file.read(SAMPLE_BYTES))
            file.seek(max(0, size - SAMPLE_BYTES))
            digest.update(file.read(SAMPLE_BYTES))
    except (OSError, ValueError):  # no path of a file; whoever reads it reports the error
        return str(path)
    return size, digest.hexdigest()


def fingerprint_of_report(path: Path, *, complete: bool = False) -> str | None:
    """Return the fingerprint in a report's file; None without a report, or if it must be complete and is not."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values["fingerprint"] if values["complete"] or not complete else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
