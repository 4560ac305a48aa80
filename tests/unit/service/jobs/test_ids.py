"""Job ids."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.jobs.types import JobIds, new_job_id


def test_ids_begin_with_the_time_and_are_32_hexadecimal_digits() -> None:
    """The first 12 digits of an id are its creation time in milliseconds since 1970."""
    before = time.time()
    made = JobIds()()
    assert int(1000 * before) <= int(made[:12], 16) <= int(1000 * time.time())
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_ids_ascend_even_if_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of one process sort in creation order, also within a millisecond and after the clock is set back."""
    clock = iter(10**6 * milliseconds for milliseconds in (500, 500, 501, 7, 502, 900))
    monkeypatch.setattr("service.jobs.types.time.time_ns", lambda: next(clock))
    new_id = JobIds()
    made = [new_id() for _ in range(6)]
    assert made == sorted(set(made))
    assert [int(made[i][:12], 16) for i in (0, -1)] == [500, 900]


def test_simultaneous_ids_differ() -> None:
    """Threads that create ids at the same time get different ones."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_job_id(), range(2000)))
    assert len(set(made)) == 2000
