"""The interface of result writers: one call per frame in presentation order, then one call to finish."""

from __future__ import annotations

from typing import Protocol

from vos.types import FrameMask


class ResultWriter(Protocol):
    """Writes masks in one format while they are computed, and holds at most a few frames."""

    def write(self, frame: FrameMask) -> None:
        """Append one frame."""

    def close(self) -> None:
        """Complete the output, also after an error; later calls do nothing."""
