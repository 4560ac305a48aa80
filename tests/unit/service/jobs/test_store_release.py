"""Releasing the jobs of workers that stop or die, on each database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event

from service.jobs.claims import MAX_ATTEMPTS, Release
from service.jobs.store import JobStore
from service.jobs.types import (
    Job,
    JobStatus,
)

NewJob = Callable[..., Job]


def test_a_release_is_atomic(store: JobStore, new_job: NewJob) -> None:
    """If the database fails during a release, all jobs of the worker stay unchanged for the next attempt."""
    ids = [store.create(new_job())[0].id for _ in range(2)]
    for _ in ids:
        store.claim_next("w")
    store.request_cancel(ids[0])

    def fail(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "deaths" in statement.partition("RETURNING")[0]:
            raise RuntimeError("the database went away")

    event.listen(store._engine, "before_cursor_execute", fail)
    with pytest.raises(RuntimeError):
        store.release("w", Release.DIED)
    event.remove(store._engine, "before_cursor_execute", fail)
    assert [store.get(job_id).status for job_id in ids] == [JobStatus.RUNNING] * 2
    assert [job.status for job in store.release("w", Release.DIED)] == [JobStatus.CANCELED, JobStatus.QUEUED]


def test_a_job_deleted_during_its_release_is_removed(store: JobStore, new_job: NewJob) -> None:
    """Whichever comes first, the job does not run again and is pending deletion."""
    ids = [store.create(new_job())[0].id for _ in range(20)]
    workers = [f"w{number}" for number in range(len(ids))]
    for worker in workers:
        store.claim_next(worker)
    with ThreadPoolExecutor(8) as pool:
        for job_id, worker in zip(ids, workers, strict=True):
            pool.submit(store.release, worker, Release.RETURNED)
            pool.submit(store.request_delete, job_id)
    assert store.claim_next("w") is None
    assert sorted(store.pending_deletion()) == ids


def test_a_job_is_retried_once_after_its_worker_died(store: JobStore, new_job: NewJob) -> None:
    """The first death requeues the job; the second one fails it with `worker-died`."""
    store.create(new_job())
    first = store.claim_next("w1")
    assert first is not None
    again = store.release("w1", Release.DIED)
    assert [(j.status, j.worker, j.deaths) for j in again] == [(JobStatus.QUEUED, None, 1)]
    assert store.claim_next("w2") is not None
    (failed,) = store.release("w2", Release.DIED)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.type == "worker-died"
    assert failed.expires_at is not None


def test_a_returned_job_uses_up_no_attempt(store: JobStore, new_job: NewJob) -> None:
    """However often the service is stopped, the job is queued again."""
    store.create(new_job())
    for _ in range(MAX_ATTEMPTS + 2):
        assert store.claim_next("w") is not None
        (job,) = store.release("w", Release.RETURNED)
        assert (job.status, job.deaths, job.attempts) == (JobStatus.QUEUED, 0, 0)


def test_a_job_that_always_kills_the_service_fails_in_the_end(store: JobStore, new_job: NewJob) -> None:
    """The loss of the whole service is not a death, but the number of attempts is limited."""
    store.create(new_job())
    statuses = []
    for _ in range(MAX_ATTEMPTS):
        assert store.claim_next("w") is not None
        (job,) = store.requeue_orphans(lambda _worker: False)
        statuses.append(job.status)
    assert statuses == [JobStatus.QUEUED] * (MAX_ATTEMPTS - 1) + [JobStatus.FAILED]


def test_only_jobs_of_dead_workers_are_requeued(store: JobStore, new_job: NewJob) -> None:
    """The job of a live worker keeps running; a job whose cancel was requested is canceled, not requeued."""
    created = [store.create(new_job())[0] for _ in range(3)]
    owners = [store.claim_next(worker) for worker in ("dead", "alive", "dead")]
    assert all(owners)
    canceled = owners[2]
    assert canceled is not None
    store.request_cancel(canceled.id)
    store.requeue_orphans(lambda worker: worker == "alive")
    assert sorted(store.get(job.id).status for job in created) == [
        JobStatus.CANCELED,
        JobStatus.QUEUED,
        JobStatus.RUNNING,
    ]
