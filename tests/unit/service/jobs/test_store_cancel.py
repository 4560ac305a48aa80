"""Canceling and deleting jobs in the job store, on each database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import (
    JobNotFoundError,
)
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.jobs.types import (
    Job,
    JobProgress,
    JobStatus,
    new_job_id,
)
from tests.support.jobs import mark_for_deletion

NewJob = Callable[..., Job]
FINISHED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)


def test_cancel_in_every_state(store: JobStore, new_job: NewJob) -> None:
    """A queued job is canceled at once, a running one is flagged, a finished one does not change."""
    waiting, _ = store.create(new_job())
    assert store.request_cancel(waiting.id).status is JobStatus.CANCELED
    assert store.claim_next("w") is None
    running, _ = store.create(new_job())
    claimed = store.claim_next("w")
    assert claimed is not None
    assert store.request_cancel(running.id).status is JobStatus.RUNNING
    assert not store.set_progress(running.id, claimed.fence, JobProgress())
    for status in FINISHED:
        done, _ = store.create(new_job(status=status))
        assert store.request_cancel(done.id) == done
    with pytest.raises(JobNotFoundError):
        store.request_cancel(new_job_id())


def test_a_cancel_during_a_claim_is_never_lost(store: JobStore, new_job: NewJob) -> None:
    """Whichever comes first, the job is canceled or flagged for its worker."""
    created = [store.create(new_job())[0] for _ in range(10)]
    with ThreadPoolExecutor(8) as pool:
        claims = [pool.submit(store.claim_next, "w") for _ in created]
        for job in created:
            pool.submit(store.request_cancel, job.id)
    assert all(claim.exception() is None for claim in claims)
    for job in created:
        now = store.get(job.id)
        assert now.status is JobStatus.CANCELED or now.cancel_requested


def test_delete_hides_the_job_until_it_is_removed(store: JobStore, new_job: NewJob) -> None:
    """A deleted job is invisible, is pending deletion once it stops running, and frees its Idempotency-Key."""
    job, _ = store.create(new_job(idempotency_key="k"))
    claimed = store.claim_next("w")
    assert claimed is not None
    store.request_delete(job.id)
    with pytest.raises(JobNotFoundError):
        store.get(job.id)
    with pytest.raises(JobNotFoundError):
        store.request_delete(job.id)
    assert store.page().jobs == ()
    assert sum(store.counts().values()) == 0
    assert store.pending_deletion() == []
    assert store.known([job.id, *(new_job_id() for _ in range(2500))]) == {job.id}
    store.release(claimed.claim, Release.RETURNED)
    assert store.pending_deletion() == [job.id]
    assert store.create(new_job(idempotency_key="k"))[1]
    store.remove(job.id)
    assert store.known([job.id]) == set()
    assert store.pending_deletion() == []


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.RUNNING])
def test_only_a_running_job_delays_its_deletion(store: JobStore, new_job: NewJob, status: JobStatus) -> None:
    """In any other state, a job marked for deletion is pending deletion at once, and no worker claims it."""
    job, _ = store.create(new_job(status=status))
    mark_for_deletion(store, job.id)
    assert store.pending_deletion() == [job.id]
    assert store.claim_next("w") is None
