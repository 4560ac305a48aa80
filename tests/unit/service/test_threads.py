"""Threads for brief calls, and how seldom what all threads wait for happens."""

from __future__ import annotations

import asyncio
import gc
import threading

from anyio.to_thread import run_sync

from service.processes import collect_rarely
from service.threads import THREADS, in_thread


def test_brief_calls_are_few_at_a_time_and_hold_up_nothing_else() -> None:
    """No more than there are threads run together, in each event loop anew; other calls find threads of their own."""

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


def test_what_is_loaded_is_left_out_of_collections() -> None:
    """All objects of the start are frozen, only full collections become rarer, and garbage is still found."""
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
