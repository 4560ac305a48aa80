"""An object store that is away and comes back."""

from __future__ import annotations

import random
import time
from threading import Lock

from tests.faults.fault import FollowUp, WeightedFaults
from tests.support.object_stores import SwitchedProxy


class StoreFaults:
    """Faults of an object store.

    Args:
        proxy: What stands before it.
        chooser: Decides for how long it is away.
    """

    def __init__(self, proxy: SwitchedProxy, chooser: random.Random) -> None:
        self._proxy = proxy
        self._random = chooser
        self._away = Lock()

    def faults(self) -> WeightedFaults:
        """Return all faults."""
        return ((4, self.take_store_away),)

    def take_store_away(self) -> FollowUp | None:
        """Cut all connections to the store, and refuse new ones for some seconds."""
        seconds = self._random.uniform(0.3, 5.0)
        if not self._away.acquire(blocking=False):
            return None
        self._proxy.switch(False)

        def bring_back() -> None:
            time.sleep(seconds)
            self._proxy.switch(True)
            self._away.release()

        return bring_back
