"""Limits of the job store and idempotency keys."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from service.errors import IdempotencyConflictError, QueueFullError, TooManyJobsError
from service.jobs.requests import QueueLimits
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus
from tests.support.jobs import mark_for_deletion

NewJob = Callable[..., Job]


def test_one_idempotency_key_makes_one_job(store: JobStore, new_job: NewJob) -> None:
    """Of simultaneous posts with one key, one creates the job and all other posts return it."""
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(store.create, [new_job(idempotency_key="once") for _ in range(24)]))
    assert sum(new for _, new in answers) == 1
    assert len({job.id for job, _ in answers}) == 1
    assert store.counts()[JobStatus.QUEUED] == 1


def test_an_idempotency_key_belongs_to_one_payload_and_one_api_key(store: JobStore, new_job: NewJob) -> None:
    """Another payload is a conflict, API keys do not share keys, and without a key every post is new."""
    job, _ = store.create(new_job(idempotency_key="k", api_key_id="a"))
    with pytest.raises(IdempotencyConflictError, match="'k'"):
        store.create(new_job(idempotency_key="k", api_key_id="a", payload_sha256="1" * 64))
    assert store.create(new_job(idempotency_key="k", api_key_id="b"))[1]
    assert store.create(new_job(idempotency_key="k"))[1]
    assert store.create(new_job())[1]
    assert store.create(new_job())[1]
    found = store.find("a", "k")
    assert found is not None
    assert found.id == job.id


def test_limits_refuse_one_job_too_many(store: JobStore, new_job: NewJob) -> None:
    """A full queue and the limit per API key raise different errors, and a refused job leaves no row."""
    limits = QueueLimits(queued=3, unfinished_per_key=2)
    first, _ = store.create(new_job(api_key_id="a"), limits)
    store.create(new_job(api_key_id="a"), limits)
    with pytest.raises(TooManyJobsError, match="2 of your jobs"):
        store.create(new_job(api_key_id="a"), limits)
    store.create(new_job(api_key_id="b"), limits)
    with pytest.raises(QueueFullError, match="3 jobs are waiting"):
        store.create(new_job(api_key_id="b"), limits)
    assert store.counts()[JobStatus.QUEUED] == 3
    store.request_cancel(first.id)
    assert store.create(new_job(api_key_id="a"), limits)[1]


def test_unfinished_jobs_are_counted_per_key(store: JobStore, new_job: NewJob) -> None:
    """Queued jobs count for all, unfinished ones for their key; finished ones and those to be deleted do not count."""
    jobs = [store.create(new_job(api_key_id=key))[0] for key in (*"aab", None)]
    assert [store.count_unfinished(key) for key in (*"abc", None)] == [(4, 2), (4, 1), (4, 0), (4, 1)]
    store.request_cancel(jobs[0].id)
    store.request_delete(jobs[2].id)
    assert [store.count_unfinished(key) for key in (*"abc", None)] == [(2, 1), (2, 0), (2, 0), (2, 1)]


def test_text_of_strangers_is_stored_as_it_is(store: JobStore, new_job: NewJob) -> None:
    """Control characters in notes, which some databases refuse in text, survive in the database's JSON."""
    odd = "a\x00\x1b[31m\u2028\U0001f600"
    job = new_job(notes=(odd,))
    store.create(job)
    assert store.get(job.id).notes == (odd,)


@pytest.mark.parametrize("limits", [QueueLimits(queued=5), QueueLimits(unfinished_per_key=5)])
def test_limits_hold_for_simultaneous_posts(store: JobStore, new_job: NewJob, limits: QueueLimits) -> None:
    """Exactly as many simultaneous posts are accepted as the limit allows."""
    start = Barrier(12)

    def create(job: Job) -> bool:
        start.wait()
        try:
            return store.create(job, limits)[1]
        except (QueueFullError, TooManyJobsError):
            return False

    with ThreadPoolExecutor(12) as pool:
        accepted = [sum(pool.map(create, [new_job() for _ in range(12)])) for _ in range(3)]
    assert accepted == [5, 0, 0]
    assert store.counts()[JobStatus.QUEUED] == 5


def test_a_job_pending_deletion_does_not_count(store: JobStore, new_job: NewJob) -> None:
    """Neither a running nor a queued job counts toward a limit once its deletion was requested."""
    limits = QueueLimits(queued=1, unfinished_per_key=1)
    for state in (JobStatus.RUNNING, JobStatus.QUEUED):
        job, _ = store.create(new_job(status=state), limits)
        with pytest.raises((TooManyJobsError, QueueFullError)):
            store.create(new_job(), limits)
        mark_for_deletion(store, job.id)
    assert store.create(new_job(), limits)[1]
