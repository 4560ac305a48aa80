"""Keeps one condition from filling the log."""

from __future__ import annotations

from time import monotonic


class LogLimit:
    """Says when to log a condition that may occur thousands of times per second.

    Args:
        seconds: Shortest time between two log lines.

    Attributes:
        unlogged: Occurrences since the log line before, without the one that is due.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._next = 0.0
        self._skipped = 0
        self.unlogged = 0

    def due(self) -> bool:
        """Count an occurrence; return whether to log it."""
        now = monotonic()
        if now < self._next:
            self._skipped += 1
            return False
        self._next = now + self._seconds
        self.unlogged, self._skipped = self._skipped, 0
        return True
