"""The job store: one suite for each database."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event, update

from service.errors import (
    IdempotencyConflictError,
    JobNotFoundError,
    LostJobError,
    QueueFullError,
    TooManyJobsError,
    UsageError,
)
from service.jobs.claims import MAX_ATTEMPTS, Release
from service.jobs.requests import Limits
from service.jobs.schema import jobs, metadata
from service.jobs.store import JobStore
from service.jobs.types import (
    TRANSITIONS,
    Job,
    JobError,
    JobIds,
    JobOptions,
    JobProgress,
    JobStatus,
    JobVideo,
    TransitionError,
    new_job_id,
)
from service.threads import THREADS

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


def test_the_migrations_make_the_schema_of_the_code(store: JobStore) -> None:
    """What Alembic builds and what the table's definition says are the same."""
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(database_url: str, new_job: NewJob) -> None:
    """A second start on the same database keeps its jobs (an in-memory database ends with its store)."""
    first = JobStore(database_url)
    job, _ = first.create(new_job())
    first.close()
    second = JobStore(database_url)
    assert [j.id for j in second.page().jobs] == ([] if database_url == "sqlite://" else [job.id])
    second.close()


def test_a_database_that_is_just_being_made_is_waited_for(tmp_path: Path) -> None:
    """SQLite does not wait to switch to its write-ahead log; the store does, until whoever writes has written."""
    path = tmp_path / "jobs.db"
    first = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    later = threading.Timer(0.3, lambda: first.execute("COMMIT"))
    later.start()
    assert _open_and_count(f"sqlite:///{path}") == 0
    later.join()
    first.close()


def test_several_processes_may_migrate_at_once(tmp_path: Path) -> None:
    """Simultaneous first starts on one database all succeed."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(_open_and_count, [url] * 2)) == [0] * 2


def _open_and_count(url: str) -> int:
    store = JobStore(url)
    try:
        return sum(store.counts().values())
    finally:
        store.close()


def test_a_burst_of_calls_opens_few_connections(tmp_path: Path, new_job: NewJob) -> None:
    """However many threads use a SQLite file, the store has no more connections than threads of the service call it."""
    opened: list[object] = []
    store = JobStore(f"sqlite:///{tmp_path}/jobs.db")
    event.listen(store._engine, "connect", lambda connection, _: opened.append(connection))
    job, _ = store.create(new_job())
    with ThreadPoolExecutor(16) as pool:
        assert all(found == job for found in pool.map(lambda _: store.get(job.id), range(200)))
    assert len(opened) <= THREADS + 1
    store.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://localhost/x"])
def test_another_database_is_refused(url: str) -> None:
    """The error says what was given."""
    with pytest.raises(UsageError, match="database is"):
        JobStore(url)


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


def test_one_idempotency_key_makes_one_job(store: JobStore, new_job: NewJob) -> None:
    """Of simultaneous posts with one key, one creates the job and all others get it."""
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(store.create, [new_job(idempotency_key="once") for _ in range(24)]))
    assert sum(new for _, new in answers) == 1
    assert len({job.id for job, _ in answers}) == 1
    assert store.counts()[JobStatus.QUEUED] == 1


def test_an_idempotency_key_belongs_to_one_payload_and_one_api_key(store: JobStore, new_job: NewJob) -> None:
    """Another payload is a conflict; another API key has keys of its own; without a key every post is new."""
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
    """A full queue and an API key's own limit are told apart, and a refused job leaves nothing."""
    limits = Limits(queued=3, unfinished_per_key=2)
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


@pytest.mark.parametrize("limits", [Limits(queued=5), Limits(unfinished_per_key=5)])
def test_limits_hold_however_many_post_at_once(store: JobStore, new_job: NewJob, limits: Limits) -> None:
    """Of simultaneous posts just as many are taken as are allowed; all others are refused."""
    start = Barrier(12)

    def create(job: Job) -> bool:
        start.wait()
        try:
            return store.create(job, limits)[1]
        except (QueueFullError, TooManyJobsError):
            return False

    with ThreadPoolExecutor(12) as pool:
        taken = [sum(pool.map(create, [new_job() for _ in range(12)])) for _ in range(3)]
    assert taken == [5, 0, 0]
    assert store.counts()[JobStatus.QUEUED] == 5


def test_a_job_that_is_to_be_deleted_counts_no_more(store: JobStore, new_job: NewJob) -> None:
    """Neither a running nor a waiting job takes room once its deletion was asked for."""
    limits = Limits(queued=1, unfinished_per_key=1)
    for state in (JobStatus.RUNNING, JobStatus.QUEUED):
        job, _ = store.create(new_job(status=state), limits)
        with pytest.raises((TooManyJobsError, QueueFullError)):
            store.create(new_job(), limits)
        ask_to_delete(store, job.id)
    assert store.create(new_job(), limits)[1]


def ask_to_delete(store: JobStore, job_id: str) -> None:
    """Note the wish alone, as a service does that dies in the middle of `request_delete`'s work."""
    with store._engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(delete_requested=True))


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
    assert store.doomed() == []
    assert store.known([job.id, *(new_job_id() for _ in range(2500))]) == {job.id}
    store.release("w", Release.RETURNED)
    assert store.doomed() == [job.id]
    assert store.create(new_job(idempotency_key="k"))[1]
    store.remove(job.id)
    assert store.known([job.id]) == set()
    assert store.doomed() == []


@pytest.mark.parametrize("status", [status for status in JobStatus if status is not JobStatus.RUNNING])
def test_only_a_running_job_puts_its_deletion_off(store: JobStore, new_job: NewJob, status: JobStatus) -> None:
    """Whatever else its state is, a job that is to be deleted is up for removal; no worker takes it before."""
    job, _ = store.create(new_job(status=status))
    ask_to_delete(store, job.id)
    assert store.doomed() == [job.id]
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
    assert sorted(store.doomed()) == ids


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
