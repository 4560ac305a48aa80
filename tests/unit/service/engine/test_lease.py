"""Leases: who loses a job and when, whatever the clocks say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from service.engine.lease import Lease, LeaseWatch
from service.errors import LostJobError
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.jobs.types import Job, JobVideo, new_job_id
from service.run.options import JobOptions
from tests.support.waiting import wait_for

SECONDS = 15.0
YEAR = 365 * 86400.0


class Clocks:
    """A monotonic clock and a wall clock that a test moves."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.wall = datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds)


@pytest.fixture
def store() -> Iterator[JobStore]:
    """A store with one running job."""
    store = JobStore("sqlite://")
    video = JobVideo("h264", 64, 48, 25.0, 12, 0.48, 0)
    store.create(Job(new_job_id(), JobOptions(), video, "0" * 64, datetime.now(UTC)))
    yield store
    store.close()


@pytest.fixture
def job(store: JobStore) -> Job:
    """The job, claimed for one lease."""
    claimed = store.claim_next("w", timedelta(seconds=SECONDS))
    assert claimed is not None
    return claimed


@pytest.fixture
def clocks() -> Clocks:
    """The observer's clocks."""
    return Clocks()


@pytest.fixture
def watch(store: JobStore, clocks: Clocks) -> LeaseWatch:
    """An observer."""
    return LeaseWatch(store.claims, SECONDS, clock=lambda: clocks.monotonic, now=lambda: clocks.wall)


def seconds_until_expired(watch: LeaseWatch, clocks: Clocks) -> float:
    """Look every second until a lease has expired; return how long that took."""
    began = clocks.monotonic
    while not watch.expired():
        clocks.advance(1.0)
        assert clocks.monotonic - began < 10 * SECONDS
    return clocks.monotonic - began


def test_a_silent_worker_loses_its_job_within_a_lease(watch: LeaseWatch, clocks: Clocks, job: Job) -> None:
    """It is not taken over before the lease ends, and not later than a whole lease after it was first seen."""
    assert job.lease_until is not None
    ends_in = (job.lease_until - clocks.wall).total_seconds()
    assert ends_in - 1 <= seconds_until_expired(watch, clocks) <= SECONDS + 1
    (claim,) = watch.expired()
    assert (claim.job_id, claim.fence) == (job.id, job.fence)


def test_an_observer_that_starts_late_waits_less_than_a_lease(watch: LeaseWatch, clocks: Clocks, job: Job) -> None:
    """A lease that has ended long ago is taken over after two intervals of renewal."""
    assert job.lease_until is not None
    clocks.advance(YEAR)
    assert seconds_until_expired(watch, clocks) == pytest.approx(10.0, abs=1)


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_a_jump_of_the_clock_takes_no_job_from_a_worker_that_renews(
    watch: LeaseWatch, clocks: Clocks, store: JobStore, job: Job, jump: float
) -> None:
    """Neither on the observer's machine nor on the worker's: what counts is that the lease changes."""
    for second in range(60):
        assert watch.expired() == []
        clocks.advance(1.0)
        if second == 20:
            clocks.wall += timedelta(seconds=jump)
        if second % 5 == 0:
            assert store.renew(job.id, job.fence, timedelta(seconds=SECONDS + second + (jump if second > 40 else 0)))


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_a_wrong_clock_keeps_no_dead_job(
    watch: LeaseWatch, clocks: Clocks, store: JobStore, job: Job, jump: float
) -> None:
    """Wherever the worker's clock was, its job is taken over at most one lease after it was first seen."""
    assert store.renew(job.id, job.fence, timedelta(seconds=jump))
    assert seconds_until_expired(watch, clocks) <= SECONDS + 1


def test_workers_get_time_to_renew_after_the_database_was_away(watch: LeaseWatch, clocks: Clocks, job: Job) -> None:
    """An observer that could not look for longer than an interval of renewal begins anew."""
    assert watch.expired() == []
    clocks.advance(YEAR)
    assert watch.expired() == []
    assert job.lease_until is not None
    assert seconds_until_expired(watch, clocks) >= 10


def test_a_lease_is_renewed_until_it_is_lost(store: JobStore, job: Job) -> None:
    """`check` is silent while the worker has the job; once it was released, it raises an error."""
    with Lease(store, job, 0.3) as lease:
        (first,) = store.claims()
        later = wait_for(lambda: next((c for c in store.claims() if c.lease_until != first.lease_until), None))
        lease.check()
        assert store.release(later, Release.DIED) is not None
        wait_for(lambda: lease._lost or None)
        with pytest.raises(LostJobError, match="another worker"):
            lease.check()


def test_a_process_that_was_stopped_asks_before_it_continues(
    store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the lease has run out without a renewal, `check` asks the database at once."""
    lease = Lease(store, job, SECONDS)  # its thread does not run, as in a process that was just continued
    store.release(job.claim, Release.DIED)
    lease.check()
    lease._held_until -= SECONDS
    with monkeypatch.context() as patch:
        patch.setattr(store, "renew", _unavailable)
        lease.check()
    with pytest.raises(LostJobError):
        lease.check()


def _unavailable(*_: object) -> bool:
    raise OperationalError("UPDATE", {}, Exception("the database is away"))
