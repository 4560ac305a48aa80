"""Decides when resume states are saved."""

from __future__ import annotations

import time
from collections.abc import Callable

_MAX_TIME_SHARE = 0.02
"""Largest share of a run's time that saving resume states may take."""


class SaveSchedule:
    """Spaces saves, so that they take little of a run's time.

    Args:
        min_seconds: Shortest time between two saves.
    """

    def __init__(self, min_seconds: float) -> None:
        self._min_seconds = min_seconds
        self._due: float | None = None

    def run_if_due(self, save: Callable[[], None]) -> None:
        """Save, but not too often. Call this after each mask."""
        now = time.monotonic()
        if self._due is None:  # a client waits for the first mask, and there is little to lose yet
            self._due = now + self._min_seconds
        if now >= self._due:
            try:
                save()
            finally:
                spent = time.monotonic() - now
                self._due = now + max(self._min_seconds, spent / _MAX_TIME_SHARE)
