"""The job store on each database: storing, listing, claiming and changing jobs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import Connection, event

from service.errors import (
    LostJobError,
)
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.jobs.types import (
    TRANSITIONS,
    Job,
    JobError,
    JobOptions,
    JobProgress,
    JobStatus,
    JobVideo,
    LogSegment,
    TransitionError,
)
from service.prompts.objects import PromptObject

NewJob = Callable[..., Job]


def test_a_job_is_stored_unchanged(store: JobStore, new_job: NewJob) -> None:
    """Every attribute of a job is the same after storing and loading it, with times in UTC."""
    job = new_job(
        options=JobOptions(model="stm", keyframes="every:3", prompt_frame=2, start=4, end=9, max_side=640),
        video=JobVideo("hevc", 1080, 1920, None, None, None, 90),
        prompt=(PromptObject(1, 2, 345, (6, 7, 8, 9), "#800000"), PromptObject(9, 2, 1, (0, 0, 1, 1))),
        notes=("the mask has 43 colors",),
        api_key_id="key",
        idempotency_key="a b",
        progress=JobProgress(3, 9, "segmenting", 12.5),
        report={"frames": [1, None, {"x": 0.5}]},
        error=JobError("broken-stream", "it broke"),
        lease_until=datetime(2024, 3, 1, tzinfo=UTC),
        segments=(LogSegment(0, 5), LogSegment(2)),
        created_at=datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=UTC),
    )
    assert store.create(job) == (job, True)
    assert store.get(job.id) == job


def test_only_allowed_transitions_change_the_status(store: JobStore, new_job: NewJob) -> None:
    """A transition of the table changes the status; any other is refused and changes nothing."""
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
    """The change to a finished status sets the end and, later by the retention, the expiry."""
    store = JobStore("sqlite://", retention=timedelta(hours=2))
    store.create(new_job())
    job = store.claim_next("w")
    assert job is not None
    done = store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, fence=job.fence, report={"a": 1})
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.expires_at == done.finished_at + timedelta(hours=2)
    assert done.report == {"a": 1}
    assert store.expired(done.expires_at - timedelta(seconds=1)) == []
    assert [j.id for j in store.expired(done.expires_at)] == [job.id]
    store.close()


def test_a_job_never_starts_before_it_exists(store: JobStore, new_job: NewJob) -> None:
    """If the worker's clock is behind, the start time is the creation time."""
    created = datetime.now(UTC) + timedelta(minutes=5)
    store.create(new_job(created_at=created))
    claimed = store.claim_next("w")
    assert claimed is not None
    assert claimed.started_at == created


@pytest.mark.parametrize("started", [True, False])
def test_a_job_never_ends_before_it_starts(database_url: str, new_job: NewJob, started: bool) -> None:
    """If the clock went back, a job ends at its start or creation time, and its expiry is moved with it."""
    store = JobStore(database_url, retention=timedelta(hours=2))
    created = datetime.now(UTC) + timedelta(minutes=5)
    begun = created + timedelta(minutes=5) if started else created
    job, _ = store.create(new_job(created_at=created, started_at=begun if started else None))
    if started:
        store.claim_next("w")
        ended = store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED)
    else:
        ended = store.request_cancel(job.id)
    assert (ended.finished_at, ended.expires_at) == (begun, begun + timedelta(hours=2))
    assert store.get(job.id) == ended
    store.close()


def test_pages_are_stable_while_jobs_come_and_go(store: JobStore, new_job: NewJob) -> None:
    """Pages list each job once, newest first, even if the last job of a page is deleted and newer ones are created."""
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


def test_each_queued_job_is_claimed_once_and_oldest_first(store: JobStore, new_job: NewJob) -> None:
    """Workers that claim at the same time get different jobs; a single worker gets them in creation order."""
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


def test_only_the_latest_claim_changes_a_job(store: JobStore, new_job: NewJob) -> None:
    """A worker that lost its job changes nothing, whatever it tries; the worker that has it may change everything."""
    job, _ = store.create(new_job())
    old = store.claim_next("old")
    assert old is not None
    store.release(old.claim, Release.LOST)
    new = store.claim_next("new")
    assert new is not None
    assert new.fence > old.fence
    before = store.get(job.id)
    stale = replace(old, lease_until=before.lease_until).claim
    progress = JobProgress(1, 9, "segmenting", 2.0)
    with pytest.raises(LostJobError, match="with fence 1"):
        store.set_progress(job.id, old.fence, JobProgress(5, 9, "segmenting", 1.0))
    with pytest.raises(LostJobError, match="with fence 1"):
        store.set_segments(job.id, old.fence, [LogSegment(old.fence)])
    with pytest.raises(LostJobError, match="with fence 1"):
        store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, fence=old.fence)
    assert not store.renew(job.id, old.fence)
    assert [store.release(stale, why) for why in Release] == [None] * 3
    assert store.get(job.id) == before
    store.set_segments(job.id, new.fence, [LogSegment(old.fence, 12), LogSegment(new.fence)])
    assert store.set_progress(job.id, new.fence, progress)
    assert store.renew(job.id, new.fence, timedelta(minutes=1))
    assert store.get(job.id).progress == progress
    assert store.get(job.id).segments == (LogSegment(old.fence, 12), LogSegment(new.fence))
    (claim,) = store.claims()
    assert (claim.fence, claim.worker, claim.segments) == (new.fence, "new", store.get(job.id).segments)
    assert claim.lease_until is not None
    assert claim.lease_until > datetime.now(UTC) + timedelta(seconds=50)


def test_only_progress_does_not_wait_for_the_disk(store: JobStore, new_job: NewJob) -> None:
    """A power cut may undo progress; every other change is on the disk when it returns."""
    query = "PRAGMA synchronous" if store._engine.dialect.name == "sqlite" else "SHOW synchronous_commit"
    durable: dict[object, bool] = {"2": True, "on": True, "1": False, "off": False}
    seen: list[bool] = []

    def note(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("UPDATE", "INSERT")):
            seen.append(durable[str(connection.exec_driver_sql(query).scalar())])

    event.listen(store._engine, "before_cursor_execute", note)
    job, _ = store.create(new_job())
    store.claim_next("w")
    store.set_progress(job.id, 1, JobProgress(1, 9, "segmenting", 2.0))
    store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED)
    event.remove(store._engine, "before_cursor_execute", note)
    assert seen == [True, True, True, False, True]
