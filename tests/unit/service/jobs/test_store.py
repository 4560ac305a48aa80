"""The job store: one suite for each database."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import Connection, event

from service.errors import (
    JobNotFoundError,
    LostJobError,
)
from service.jobs.claims import MAX_ATTEMPTS, Release
from service.jobs.store import JobStore
from service.jobs.types import (
    TRANSITIONS,
    Job,
    JobError,
    JobOptions,
    JobProgress,
    JobStatus,
    JobVideo,
    TransitionError,
    new_job_id,
)
from tests.support.jobs import ask_to_delete

NewJob = Callable[..., Job]
FINISHED = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)


def test_a_job_comes_back_as_it_was_stored(store: JobStore, new_job: NewJob) -> None:
    """Every attribute survives the way through the database, times as UTC."""
    job = new_job(
        options=JobOptions("stm", "every:3", 2, 4, 9, 640),
        video=JobVideo("hevc", 1080, 1920, None, None, None, 90),
        api_key_id="key",
        idempotency_key="a b",
        progress=JobProgress(3, 9, "segmenting", 12.5),
        report={"frames": [1, None, {"x": 0.5}]},
        error=JobError("broken-stream", "it broke"),
        created_at=datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
    )
    assert store.create(job) == (job, True)
    assert store.get(job.id) == job


def test_a_status_moves_along_the_arrows_only(store: JobStore, new_job: NewJob) -> None:
    """An arrow of the table moves the job, anything else is refused and changes nothing."""
    for old, new in product(JobStatus, JobStatus):
        job, _ = store.create(new_job(status=old))
        if new in TRANSITIONS[old]:
            assert store.move(job.id, old, new).status is new
            with pytest.raises(LostJobError, match=f"no longer {old}"):
                store.move(job.id, old, new)
        else:
            with pytest.raises(TransitionError, match=f"{old} cannot become {new}"):
                store.move(job.id, old, new)
            assert store.get(job.id) == job


def test_a_finished_job_has_its_times(new_job: NewJob) -> None:
    """Its end and its expiry, retention later, are set with the status."""
    store = JobStore("sqlite://", retention=timedelta(hours=2))
    store.create(new_job())
    job = store.claim_next("w")
    assert job is not None
    done = store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, worker="w", report={"a": 1})
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.expires_at == done.finished_at + timedelta(hours=2)
    assert done.report == {"a": 1}
    assert store.expired(done.expires_at - timedelta(seconds=1)) == []
    assert [j.id for j in store.expired(done.expires_at)] == [job.id]
    store.close()


def test_a_job_never_starts_before_it_exists(store: JobStore, new_job: NewJob) -> None:
    """A worker that read the clock before the job was put in, or whose clock lags, starts it when it was created."""
    created = datetime.now(UTC) + timedelta(minutes=5)
    store.create(new_job(created_at=created))
    claimed = store.claim_next("w")
    assert claimed is not None
    assert claimed.started_at == created


@pytest.mark.parametrize("started", [True, False])
def test_a_job_never_ends_before_it_began(database_url: str, new_job: NewJob, started: bool) -> None:
    """Where the clock has gone back, a job ends when it was created or started, and is kept for as long after that."""
    store = JobStore(database_url, retention=timedelta(hours=2))
    created = datetime.now(UTC) + timedelta(minutes=5)
    begun = created + timedelta(minutes=5) if started else created
    job, _ = store.create(new_job(created_at=created, started_at=begun if started else None))
    if started:
        store.claim_next("w")
        ended = store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, worker="w")
    else:
        ended = store.request_cancel(job.id)
    assert (ended.finished_at, ended.expires_at) == (begun, begun + timedelta(hours=2))
    assert store.get(job.id) == ended
    store.close()


def test_pages_are_stable_while_jobs_come_and_go(store: JobStore, new_job: NewJob) -> None:
    """Newest first, each job once, although the last job of a page is deleted and newer ones are created meanwhile."""
    ids = [f"{i:032x}" for i in range(7)]
    for job_id in ids:
        store.create(new_job(id=job_id, api_key_id="mine"))
    first = store.page(3, api_key_id="mine")
    assert [j.id for j in first.jobs] == ids[:3:-1]
    store.request_delete(first.jobs[-1].id)
    store.create(new_job(api_key_id="mine"))
    store.create(new_job(api_key_id="other"))
    second = store.page(3, first.cursor, api_key_id="mine")
    third = store.page(3, second.cursor, api_key_id="mine")
    assert [j.id for j in second.jobs + third.jobs] == ids[3::-1]
    assert third.cursor is None
    assert [j.id for j in store.page(status=JobStatus.CANCELED).jobs] == []
    assert store.page(10, status=JobStatus.QUEUED).cursor is None


def test_each_waiting_job_is_claimed_once_and_oldest_first(store: JobStore, new_job: NewJob) -> None:
    """Workers that claim at the same time get different jobs; alone, one gets them in the order they came."""
    ids = [f"{i:032x}" for i in range(12)]
    for job_id in reversed(ids):
        store.create(new_job(id=job_id))
    alone = [store.claim_next("alone") for _ in range(2)]
    assert [job and job.id for job in alone] == ids[:2]
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(store.claim_next, [f"w{i}" for i in range(16)]))
    got = [job.id for job in claimed if job is not None]
    assert len(got) == len(set(got))
    rest = [job.id for job in iter(lambda: store.claim_next("rest"), None)]
    assert sorted(got + rest) == ids[2:]
    assert store.get(ids[0]).worker == "alone"
    assert store.get(ids[0]).attempts == 1


def test_only_the_worker_of_a_job_changes_it(store: JobStore, new_job: NewJob) -> None:
    """A worker that lost its job can neither report progress nor finish it."""
    job, _ = store.create(new_job())
    store.claim_next("new")
    assert not store.set_progress(job.id, "old", JobProgress(5, 9, "segmenting", 1.0))
    with pytest.raises(LostJobError, match="with worker old"):
        store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, worker="old")
    assert store.set_progress(job.id, "new", JobProgress(1, 9, "segmenting", 2.0))
    assert store.get(job.id).progress == JobProgress(1, 9, "segmenting", 2.0)


def test_only_progress_does_not_wait_for_the_disk(store: JobStore, new_job: NewJob) -> None:
    """A power cut may undo what was said of progress; every other change is on the disk when it is acknowledged."""
    asked = "PRAGMA synchronous" if store._engine.dialect.name == "sqlite" else "SHOW synchronous_commit"
    durable: dict[object, bool] = {"2": True, "on": True, "1": False, "off": False}
    seen: list[bool] = []

    def note(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("UPDATE", "INSERT")):
            seen.append(durable[str(connection.exec_driver_sql(asked).scalar())])

    event.listen(store._engine, "before_cursor_execute", note)
    job, _ = store.create(new_job())
    store.claim_next("w")
    store.set_progress(job.id, "w", JobProgress(1, 9, "segmenting", 2.0))
    store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, worker="w")
    event.remove(store._engine, "before_cursor_execute", note)
    assert seen == [True, True, False, True]


def test_cancel_in_every_state(store: JobStore, new_job: NewJob) -> None:
    """A waiting job is canceled at once, a running one is told, a finished one stays what it is."""
    waiting, _ = store.create(new_job())
    assert store.request_cancel(waiting.id).status is JobStatus.CANCELED
    assert store.claim_next("w") is None
    running, _ = store.create(new_job())
    store.claim_next("w")
    assert store.request_cancel(running.id).status is JobStatus.RUNNING
    assert not store.set_progress(running.id, "w", JobProgress())
    for status in FINISHED:
        done, _ = store.create(new_job(status=status))
        assert store.request_cancel(done.id) == done
    with pytest.raises(JobNotFoundError):
        store.request_cancel(new_job_id())


def test_cancel_and_claim_at_the_same_time_never_lose_the_cancel(store: JobStore, new_job: NewJob) -> None:
    """Whichever comes first, the job is canceled or its worker is told."""
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
    """A deleted job cannot be seen or claimed; it is up for removal as soon as it does not run; its key is free."""
    job, _ = store.create(new_job(idempotency_key="k"))
    store.claim_next("w")
    store.request_delete(job.id)
    with pytest.raises(JobNotFoundError):
        store.get(job.id)
    with pytest.raises(JobNotFoundError):
        store.request_delete(job.id)
    assert store.page().jobs == ()
    assert sum(store.counts().values()) == 0
    assert store.pending_deletion() == []
    assert store.known([job.id, *(new_job_id() for _ in range(2500))]) == {job.id}
    store.release("w", Release.RETURNED)
    assert store.pending_deletion() == [job.id]
    assert store.create(new_job(idempotency_key="k"))[1]
    store.remove(job.id)
    assert store.known([job.id]) == set()
    assert store.pending_deletion() == []


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.RUNNING])
def test_only_a_running_job_puts_its_deletion_off(store: JobStore, new_job: NewJob, status: JobStatus) -> None:
    """Whatever else its state is, a job that is to be deleted is up for removal; no worker takes it before."""
    job, _ = store.create(new_job(status=status))
    ask_to_delete(store, job.id)
    assert store.pending_deletion() == [job.id]
    assert store.claim_next("w") is None


def test_a_worker_is_released_wholly_or_not_at_all(store: JobStore, new_job: NewJob) -> None:
    """A database that fails in mid-release leaves every job of the worker as it was, for the next try."""
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


def test_a_job_deleted_while_its_worker_is_released_is_removed(store: JobStore, new_job: NewJob) -> None:
    """Whichever comes first, the job does not run again and is up for removal."""
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


def test_a_job_whose_worker_died_runs_again_once(store: JobStore, new_job: NewJob) -> None:
    """After the first death it waits again, after the second it has failed and says why."""
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


def test_a_job_that_is_given_back_counts_nothing(store: JobStore, new_job: NewJob) -> None:
    """However often the service is stopped in an orderly way, the job waits again."""
    store.create(new_job())
    for _ in range(MAX_ATTEMPTS + 2):
        assert store.claim_next("w") is not None
        (job,) = store.release("w", Release.RETURNED)
        assert (job.status, job.deaths, job.attempts) == (JobStatus.QUEUED, 0, 0)


def test_a_job_that_takes_the_service_down_each_time_is_given_up(store: JobStore, new_job: NewJob) -> None:
    """Losses with the whole service are no deaths, but the number of attempts is bounded."""
    store.create(new_job())
    statuses = []
    for _ in range(MAX_ATTEMPTS):
        assert store.claim_next("w") is not None
        (job,) = store.requeue_orphans(lambda _worker: False)
        statuses.append(job.status)
    assert statuses == [JobStatus.QUEUED] * (MAX_ATTEMPTS - 1) + [JobStatus.FAILED]


def test_orphans_are_the_jobs_of_workers_that_are_gone(store: JobStore, new_job: NewJob) -> None:
    """Jobs of living workers run on; one whose cancel was asked for is canceled instead of queued."""
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
