"""Decides when resume states are saved."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from service.errors import StorageUnavailableError

_log = logging.getLogger(__name__)

_MAX_TIME_SHARE = 0.02
"""Largest share of a run's time that saving resume states may take in the long run."""
_FREE_SECONDS = 0.5
"""Time that it may take beside this share: a short run, or an attempt that is soon interrupted, has states early."""
_PAUSE_PER_SECOND, _MAX_PAUSE_SECONDS = 4.0, 10.0
"""Pause after a try that failed, per second that it took, and at most."""


class SaveSchedule:
    """Spaces saves, so that they take little of a run's time.

    Args:
        min_seconds: Shortest time between two saves.
    """

    def __init__(self, min_seconds: float) -> None:
        self._min_seconds = min_seconds
        self._began = self._due = self._spent = 0.0

    def run_if_due(self, save: Callable[[], None]) -> None:
        """Save, but not too often. Call this after each mask."""
        now = time.monotonic()
        if not self._due:  # a client waits for the first mask, and there is little to lose yet
            self._began, self._due = now, now + self._min_seconds
        if now < self._due:
            return
        try:
            save()
        except BaseException:
            failed_at = time.monotonic()
            pause = min(_PAUSE_PER_SECOND * (failed_at - now), _MAX_PAUSE_SECONDS)
            self._due = failed_at + max(self._min_seconds, pause)
            raise
        spent = time.monotonic() - now
        self._spent += spent
        affordable = self._began + (self._spent + spent - _FREE_SECONDS) / _MAX_TIME_SHARE  # if it takes as long again
        self._due = max(now + self._min_seconds, affordable)


def tolerate(action: Callable[[], None]) -> None:
    """Do something that may be left out while the object store is away."""
    try:
        action()
    except StorageUnavailableError as error:
        _log.warning("not stored for now", extra={"reason": str(error)[:200]})
