"""Signs of life between processes: those with workers give them, those without look for them.

Each process with a worker that can run jobs changes its row of the database at intervals. Others notice the changes on
their own monotonic clock, so no clocks are compared, and rows of processes that died prove nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from service.jobs.store import JobStore

PRESENCE_SECONDS = 2.0
"""Time between two signs of life."""
ABSENCE_SECONDS = 20.0
"""Time without a sign of life after which no worker counts as present."""
_FORGET_SECONDS = 3600.0
"""Time after which the row of a silent process is deleted."""


class Presence:
    """Gives or finds signs of life.

    Args:
        store: The job store.
        clock: Returns monotonic seconds.
    """

    def __init__(self, store: JobStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._announced = False
        self._seen: dict[str, tuple[str, float]] = {}
        self._heard: dict[str, float] = {}

    def announce(self) -> None:
        """Give a sign of life."""
        self._announced = True
        self._store.announce_worker(self._name, secrets.token_hex(8))

    def withdraw(self) -> None:
        """Tell the others that this process has no worker any more."""
        if self._announced:
            self._announced = False
            self._store.forget_worker(self._name)

    def look(self) -> None:
        """Look for signs of life of other processes. The first look only finds out what was there before."""
        now, seen = self._clock(), {}
        for name, sign in self._store.announced_workers().items():
            earlier, since = self._seen.get(name, (sign, now))
            if sign != earlier:
                since = self._heard[name] = now
            if now - since > _FORGET_SECONDS:
                self._store.forget_worker(name)
            else:
                seen[name] = (sign, since)
        self._seen = seen
        self._heard = {name: at for name, at in self._heard.items() if now - at < ABSENCE_SECONDS}

    def count(self) -> int:
        """Return the number of other processes that have given a sign of life lately."""
        now = self._clock()
        return sum(now - at < ABSENCE_SECONDS for at in self._heard.values())

    def absence(self) -> str | None:
        """Return in one line that no other process has given a sign of life lately; None if one has."""
        if self.count():
            return None
        return (
            f"no worker has shown a sign of life within {ABSENCE_SECONDS:g} s; start one with `keymask worker`, with "
            "the same database and files"
        )
