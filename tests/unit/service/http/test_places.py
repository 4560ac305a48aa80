"""Places that requests take: exact limits, and whose share a request counts to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from starlette.requests import Request

from service.errors import QueueFullError, TooManyJobsError
from service.http.limits.log_limit import LogLimit
from service.http.limits.places import JobPlaces, Places, share_of
from service.jobs.requests import QueueLimits
from service.jobs.store import JobStore
from service.jobs.types import Job, JobVideo, new_job_id
from service.problems import ProblemError
from service.run.options import JobOptions


@pytest.fixture
def store() -> Iterator[JobStore]:
    """An empty store."""
    store = JobStore("sqlite://")
    yield store
    store.close()


def create(store: JobStore, key: str) -> None:
    """Create a queued job of an API key."""
    video = JobVideo("h264", 64, 48, 25.0, 12, 0.48, 0)
    store.create(Job(new_job_id(), JobOptions(), video, "0" * 64, datetime.now(UTC), api_key_id=key))


def test_a_caller_takes_its_share_and_all_take_the_total() -> None:
    """The share of a caller and the total are separate limits; a place that is left can be taken again."""
    places = Places(3, 2, "streams")
    with ExitStack() as stack:
        first = [stack.enter_context(places.take("a")) for _ in range(2)]
        with pytest.raises(ProblemError, match="2 streams of a are open") as caught, places.take("a"):
            pass
        assert caught.value.kind == "too-many-requests"
        stack.enter_context(places.take("b"))
        with pytest.raises(ProblemError, match="3 streams are open") as caught, places.take("c"):
            pass
        assert (caught.value.kind, places.taken, len(first)) == ("busy", 3, 2)
    assert (places.taken, places._taken) == (0, {})
    with pytest.raises(KeyError), places.take("a"):
        raise KeyError
    assert places.taken == 0


def test_jobs_on_their_way_count_as_jobs(store: JobStore) -> None:
    """Of many submissions at once, exactly as many pass as the limits leave room for beside the jobs that exist."""

    async def submit_many(keys: str) -> int:
        places, decided, everyone = JobPlaces(store, QueueLimits(queued=6, unfinished_per_key=3)), 0, asyncio.Event()

        def decide() -> None:
            nonlocal decided
            decided += 1
            if decided == len(keys):
                everyone.set()

        async def submit(key: str) -> bool:
            try:
                async with places.take(key):
                    decide()
                    await everyone.wait()
                    return True
            except (QueueFullError, TooManyJobsError):
                decide()
                return False

        passed = await asyncio.gather(*(submit(key) for key in keys))
        assert not places._coming
        return sum(passed)

    create(store, "a")
    assert asyncio.run(submit_many("a" * 30)) == 2
    assert asyncio.run(submit_many("abc" * 30)) == 5


@pytest.mark.parametrize(
    ("host", "caller", "share"),
    [
        ("192.0.2.7", "ann", "key ann"),
        ("192.0.2.7", None, "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("testclient", None, "testclient"),
    ],
)
def test_a_request_counts_to_its_key_or_its_network(host: str, caller: str | None, share: str) -> None:
    """With a key the address does not matter; without, an IPv6 subscriber counts once."""
    assert share_of(Request({"type": "http", "client": (host, 1)}), caller) == share


def test_a_frequent_condition_is_logged_rarely() -> None:
    """The first occurrence is logged; the next log line says how many were not."""
    limit = LogLimit(3600.0)
    assert [limit.due() for _ in range(5)] == [True, False, False, False, False]
    limit._next = 0.0
    assert (limit.due(), limit.unlogged) == (True, 4)
