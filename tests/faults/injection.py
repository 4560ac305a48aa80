"""Injects faults one after the other, chosen at random by a seed."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

from tests.faults.fault import WeightedFaults

_END_SECONDS = 300.0


class Injector:
    """Breaks a plant. The same seed breaks the same things in the same order.

    Args:
        faults: What may break.
        chooser: Decides what breaks next.

    Attributes:
        counts: Number of faults by kind.
    """

    def __init__(self, faults: WeightedFaults, chooser: random.Random) -> None:
        self._faults = [fault for _, fault in faults]
        self._weights = [weight for weight, _ in faults]
        self._random = chooser
        self._pool = ThreadPoolExecutor(8)
        self._pending: list[Future[object]] = []
        self.counts: Counter[str] = Counter()

    def inject(self) -> None:
        """Inject one fault; what it takes to end it (a restart, SIGCONT) goes on in the background."""
        while True:
            (fault,) = self._random.choices(self._faults, self._weights)
            follow_up = fault()
            if follow_up is not None:
                self.counts[fault.__name__.replace("_", " ")] += 1
                self._pending.append(self._pool.submit(follow_up))
                return

    def finish(self) -> None:
        """Wait until every fault has ended.

        Raises:
            Exception: A process did not come back.
        """
        for future in self._pending:
            future.result(_END_SECONDS)
        self._pool.shutdown()
