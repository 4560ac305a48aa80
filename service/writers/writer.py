"""What every result writer offers: one call a frame in presentation order, then one call to end."""

from __future__ import annotations

from typing import Protocol

from vos.types import FrameMask


class ResultWriter(Protocol):
    """Writes masks in one format while they are computed; never holds more than a few frames."""

    def write(self, frame: FrameMask) -> None:
        """Append one frame."""

    def close(self) -> None:
        """Finish what was written, also after an error; later calls do nothing."""
