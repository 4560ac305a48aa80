"""Releasing the jobs of workers that stop or die, on each database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import event

from service.jobs.claims import MAX_ATTEMPTS, Release
from service.jobs.store import JobStore
from service.jobs.types import (
    Job,
    JobError,
    JobStatus,
    LogSegment,
)

NewJob = Callable[..., Job]


def test_a_release_is_atomic(store: JobStore, new_job: NewJob) -> None:
    """If the database fails during a release, the job stays unchanged for the next attempt."""
    store.create(new_job())
    job = store.claim_next("w")
    assert job is not None

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "deaths" in statement.partition("RETURNING")[0]:
            raise RuntimeError("the database went away")

    event.listen(store._engine, "before_cursor_execute", fail)
    with pytest.raises(RuntimeError):
        store.release(job.claim, Release.DIED)
    event.remove(store._engine, "before_cursor_execute", fail)
    assert store.get(job.id) == job
    released = store.release(job.claim, Release.DIED, segments=[LogSegment(1, 99)])
    assert released is not None
    assert (released.status, released.segments) == (JobStatus.QUEUED, (LogSegment(1, 99),))


def test_a_job_deleted_during_its_release_is_removed(store: JobStore, new_job: NewJob) -> None:
    """Whichever comes first, the job does not run again and is pending deletion."""
    ids = [store.create(new_job())[0].id for _ in range(20)]
    workers = [f"w{number}" for number in range(len(ids))]
    claims = {job.id: job.claim for job in map(store.claim_next, workers) if job is not None}
    with ThreadPoolExecutor(8) as pool:
        for job_id in ids:
            pool.submit(store.release, claims[job_id], Release.RETURNED)
            pool.submit(store.request_delete, job_id)
    assert store.claim_next("w") is None
    assert sorted(store.pending_deletion()) == ids


def test_a_job_is_retried_once_after_its_worker_died(store: JobStore, new_job: NewJob) -> None:
    """The first death requeues the job; the second one fails it with `worker-died`."""
    store.create(new_job())
    first = store.claim_next("w1")
    assert first is not None
    again = store.release(first.claim, Release.DIED)
    assert again is not None
    assert (again.status, again.worker, again.deaths) == (JobStatus.QUEUED, None, 1)
    second = store.claim_next("w2")
    assert second is not None
    failed = store.release(second.claim, Release.DIED)
    assert failed is not None
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.type == "worker-died"
    assert failed.expires_at is not None


def test_a_returned_job_uses_up_no_attempt(store: JobStore, new_job: NewJob) -> None:
    """However often the service is stopped, the job is queued again."""
    store.create(new_job())
    for _ in range(MAX_ATTEMPTS + 2):
        claimed = store.claim_next("w")
        assert claimed is not None
        job = store.release(claimed.claim, Release.RETURNED)
        assert job is not None
        assert (job.status, job.deaths, job.attempts) == (JobStatus.QUEUED, 0, 0)


def test_a_job_that_always_kills_the_service_fails_in_the_end(store: JobStore, new_job: NewJob) -> None:
    """The loss of the whole service is not a death, but the number of attempts is limited."""
    store.create(new_job())
    statuses = []
    for _ in range(MAX_ATTEMPTS):
        claimed = store.claim_next("w")
        assert claimed is not None
        job = store.release(claimed.claim, Release.LOST)
        assert job is not None
        statuses.append(job.status)
    assert statuses == [JobStatus.QUEUED] * (MAX_ATTEMPTS - 1) + [JobStatus.FAILED]


def test_a_defect_fails_the_job_with_its_own_problem_after_a_retry(store: JobStore, new_job: NewJob) -> None:
    """The error of the second death is what the client sees."""
    store.create(new_job())
    for expected in (JobStatus.QUEUED, JobStatus.FAILED):
        claimed = store.claim_next("w")
        assert claimed is not None
        job = store.release(claimed.claim, Release.DIED, error=JobError("internal-error", "went wrong"))
        assert job is not None
        assert job.status is expected
    assert job.error == JobError("internal-error", "went wrong")


def test_a_claim_that_was_renewed_is_not_lost(store: JobStore, new_job: NewJob) -> None:
    """An observer that saw the lease before it was renewed changes nothing; one that saw the latest lease does."""
    store.create(new_job())
    job = store.claim_next("w")
    assert job is not None
    assert store.renew(job.id, job.fence, timedelta(minutes=5))
    assert store.release(job.claim, Release.LOST) is None
    (claim,) = store.claims("w")
    assert store.claims("other") == []
    released = store.release(claim, Release.LOST)
    assert released is not None
    assert released.status is JobStatus.QUEUED
    assert not store.renew(job.id, job.fence)
    assert store.claims() == []


def test_a_canceled_job_is_not_requeued(store: JobStore, new_job: NewJob) -> None:
    """If its worker is lost, a job whose cancel was requested ends."""
    store.create(new_job())
    job = store.claim_next("w")
    assert job is not None
    store.request_cancel(job.id)
    released = store.release(job.claim, Release.LOST)
    assert released is not None
    assert released.status is JobStatus.CANCELED


def test_a_lease_without_an_end_can_be_lost(store: JobStore, new_job: NewJob) -> None:
    """Jobs that an earlier version left running have no `lease_until`."""
    job, _ = store.create(new_job(status=JobStatus.RUNNING, worker="w"))
    (claim,) = store.claims()
    released = store.release(claim, Release.LOST)
    assert released is not None
    assert (released.id, released.status) == (job.id, JobStatus.QUEUED)
