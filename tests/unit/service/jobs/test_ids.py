"""Ids of jobs."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.jobs.types import (
    JobIds,
    new_job_id,
)


def test_ids_begin_with_the_time_and_are_32_hexadecimal_digits() -> None:
    """The first 12 digits of an id are the milliseconds since 1970 in which it was made."""
    before = time.time()
    made = JobIds()()
    assert int(1000 * before) <= int(made[:12], 16) <= int(1000 * time.time())
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_ids_ascend_though_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of one process sort as they were made, within a millisecond and when the clock is set back."""
    clock = iter(10**6 * milliseconds for milliseconds in (500, 500, 501, 7, 502, 900))
    monkeypatch.setattr("service.jobs.types.time.time_ns", lambda: next(clock))
    new_id = JobIds()
    made = [new_id() for _ in range(6)]
    assert made == sorted(set(made))
    assert [int(made[i][:12], 16) for i in (0, -1)] == [500, 900]


def test_ids_made_at_the_same_time_differ() -> None:
    """Threads that make ids together get each a different one."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_job_id(), range(2000)))
    assert len(set(made)) == 2000
