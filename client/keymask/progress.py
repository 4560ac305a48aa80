"""A progress line on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO, TypeAlias

from keymask.models import Job

ProgressOption: TypeAlias = "bool | Callable[[Job], None]"
"""True shows a line on standard error if that is a terminal; a function is called with the job at every change."""

_WIDTH = 30


def reporter(progress: ProgressOption) -> Callable[[Job], None]:
    """Return the function to call at every change of a job."""
    if callable(progress):
        return progress
    if progress and sys.stderr.isatty():
        return ProgressLine(sys.stderr)
    return lambda _job: None


class ProgressLine:
    """One line on a terminal, redrawn at every change until the job ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ended = False

    def __call__(self, job: Job) -> None:
        """Show the progress of the job."""
        if self._ended:
            return
        done, total = job.progress.done, job.progress.total
        share = min(1.0, done / total) if total else 0.0
        bar = ("#" * round(share * _WIDTH)).ljust(_WIDTH, ".")
        rate = f" {job.progress.fps:.1f}/s" if job.progress.fps else ""
        self._stream.write(
            f"\r[{bar}] {done}/{total or '?'} frames{rate} {job.progress.stage or job.status.value}\x1b[K"
        )
        if job.status.ended:
            self._stream.write("\n")
            self._ended = True
        self._stream.flush()
