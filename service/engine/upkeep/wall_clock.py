"""The wall clock, as far as it can be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

_TOLERANCE_SECONDS = 60.0


class SettledClock:
    """Tells the time unless the wall clock has jumped lately: it is compared with the monotonic clock at each call.

    Args:
        settle_seconds: Returns how long the clock must run evenly after a jump before it is believed.
        monotonic: Returns monotonic seconds.
        wall: Returns seconds since 1970.
    """

    def __init__(
        self,
        settle_seconds: Callable[[], float],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settle_seconds = settle_seconds
        self._monotonic = monotonic
        self._wall = wall
        self._offset = wall() - monotonic()
        self._jumped_at: float | None = None

    def now(self) -> datetime | None:
        """Return the time in UTC, None if the clock has jumped lately."""
        elapsed, wall = self._monotonic(), self._wall()
        if abs(wall - elapsed - self._offset) > _TOLERANCE_SECONDS:
            self._offset, self._jumped_at = wall - elapsed, elapsed
        if self._jumped_at is not None and elapsed - self._jumped_at < self._settle_seconds():
            return None
        return datetime.fromtimestamp(wall, UTC)
