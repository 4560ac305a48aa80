"""Tells how long values that others write have not changed, without comparing clocks of different machines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class ChangeWatch(Generic[Key]):
    """Observes values and measures on this process's monotonic clock how long each has been the same.

    Args:
        max_gap: Seconds between two observations after which all measurements begin anew: who could not look for that
            long knows nothing about the time between.
        clock: Returns monotonic seconds.
    """

    def __init__(self, max_gap: float = math.inf, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_gap = max_gap
        self._clock = clock
        self._seen: dict[Key, tuple[Hashable, float]] = {}
        self._looked_at = -math.inf

    def observe(self, values: Mapping[Key, Hashable]) -> dict[Key, float]:
        """Return for each key the seconds for which its value has been seen unchanged; 0 for a new value."""
        now = self._clock()
        if now - self._looked_at > self._max_gap:
            self._seen = {}
        self._looked_at = now
        seen = {}
        for key, value in values.items():
            earlier = self._seen.get(key)
            seen[key] = (value, earlier[1] if earlier is not None and earlier[0] == value else now)
        self._seen = seen
        return {key: now - since for key, (_, since) in seen.items()}
