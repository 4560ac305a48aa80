"""Threads for brief calls, and rare garbage collections."""

from __future__ import annotations

import asyncio
import gc
import threading

from anyio.to_thread import run_sync

from service.runtime.processes import collect_rarely
from service.runtime.threads import THREADS, in_thread


def test_few_brief_calls_run_at_once_and_other_calls_are_not_delayed() -> None:
    """At most `THREADS` brief calls run at once per event loop; other calls have their own threads."""

    async def main() -> int:
        lock, go_on = threading.Lock(), threading.Event()
        running = most = 0

        def call() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            assert go_on.wait(240)
            with lock:
                running -= 1

        calls = [asyncio.create_task(in_thread(call)) for _ in range(3 * THREADS)]
        while most < THREADS:
            await asyncio.sleep(0.01)
        assert await run_sync(len, "four") == 4
        go_on.set()
        await asyncio.gather(*calls)
        return most

    assert [asyncio.run(main()) for _ in range(2)] == [THREADS] * 2


def test_objects_of_the_start_are_excluded_from_collections() -> None:
    """Existing objects are frozen, only full collections become rarer, and garbage is still collected."""
    before = gc.get_threshold()
    try:
        collect_rarely()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[:2] == before[:2]
        assert gc.get_threshold()[2] > before[2]
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() >= 1
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
