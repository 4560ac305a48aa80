"""Rows that cannot be read: they fail alone, and keep no other job from anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from service.jobs import schema
from service.jobs.claims import Release
from service.jobs.store import JobStore
from service.jobs.types import Job, JobProgress, JobStatus

NewJob = Callable[..., Job]

NEWER: tuple[tuple[str, str], ...] = (
    ("options", '{"model": null, "an_option_of_tomorrow": 3}'),
    ("options", '{"labels": 5}'),
    ("options", "[]"),
    ("video", '"a path"'),
    ("video", '{"codec": "h264", "width": "wide"}'),
    ("prompt", '[{"object": 1}]'),
    ("prompt", '{"kind": "text"}'),
    ("notes", "7"),
)
"""Values of columns that a newer version might write."""
DAMAGED: tuple[tuple[str, str], ...] = (
    ("options", "no JSON"),
    ("video", '{"codec": '),
    ("prompt", "\\"),
    ("created_at", "yesterday"),
    ("done", "many"),
)
"""Values that only SQLite stores in these columns."""


def _overwrite(store: JobStore, job_id: str, column: str, value: str) -> None:
    is_json = store._engine.dialect.name == "postgresql" and column not in ("status",)
    new = "CAST(:value AS json)" if is_json else ":value"
    with store._engine.begin() as connection:
        connection.execute(text(f"UPDATE jobs SET {column} = {new} WHERE id = :id"), {"value": value, "id": job_id})


def _cases(store: JobStore) -> tuple[tuple[str, str], ...]:
    return NEWER + (DAMAGED if store._engine.dialect.name == "sqlite" else ())


def test_an_unreadable_job_fails_and_the_next_one_runs(store: JobStore, new_job: NewJob) -> None:
    """A worker that meets a row it cannot read fails this job with the reason, and gets the job behind it."""
    for column, value in _cases(store):
        bad, good = (store.create(new_job())[0] for _ in range(2))
        _overwrite(store, bad.id, column, value)
        claimed = store.claim_next("w")
        assert claimed is not None
        assert (claimed.id, claimed.unreadable) == (good.id, ()), (column, value)
        failed = store.get(bad.id)
        assert (failed.status, failed.unreadable != ()) == (JobStatus.FAILED, True), (column, value)
        assert failed.error is not None
        assert failed.error.type == "job-unreadable"
        assert failed.expires_at is not None
    assert store.claim_next("w") is None


def test_a_status_of_a_newer_version_is_shown_as_failed(store: JobStore, new_job: NewJob) -> None:
    """Such a job is never claimed; the row keeps its status for the version that knows it."""
    bad, good = (store.create(new_job())[0] for _ in range(2))
    _overwrite(store, bad.id, "status", "paused")
    claimed = store.claim_next("w")
    assert claimed is not None
    assert claimed.id == good.id
    shown = store.get(bad.id)
    assert (shown.status, shown.unreadable) == (JobStatus.FAILED, ("status",))
    assert shown.error is not None
    assert "status" in shown.error.detail
    assert store.counts()[JobStatus.RUNNING] == 1
    with store._engine.connect() as connection:
        stored = connection.execute(text("SELECT status FROM jobs WHERE id = :id"), {"id": bad.id}).scalar()
    assert stored == "paused"


def test_lists_show_unreadable_jobs_among_the_others(store: JobStore, new_job: NewJob) -> None:
    """A tenant with unreadable jobs can list all jobs, page by page, and see what is wrong with which."""
    cases = _cases(store)
    jobs = [store.create(new_job(api_key_id="a"))[0] for _ in range(len(cases) + 2)]
    for job, (column, value) in zip(jobs[1:], cases, strict=False):
        _overwrite(store, job.id, column, value)
    pages, cursor = [], None
    while True:
        page = store.page(3, cursor, api_key_id="a")
        pages += page.jobs
        cursor = page.cursor
        if cursor is None:
            break
    assert [job.id for job in pages] == [job.id for job in reversed(jobs)]
    assert [bool(job.unreadable) for job in pages] == [False, *[True] * len(cases), False]
    for job in pages[1:-1]:
        assert job.unreadable[0] in job.notes[-1]


@pytest.mark.parametrize("column", ["options", "video"])
def test_unreadable_jobs_can_be_released_expired_and_deleted(store: JobStore, new_job: NewJob, column: str) -> None:
    """A row that becomes unreadable while its job runs keeps neither itself nor others from ending."""
    store.retention = timedelta(0)
    for _ in range(2):
        store.create(new_job())
    ids = [job.id for job in iter(lambda: store.claim_next("w"), None)]
    _overwrite(store, ids[0], column, "[1]")
    assert store.set_progress(ids[0], 1, JobProgress(1, 9, "segmenting", 2.0))
    released = [store.release(claim, Release.LOST) for claim in store.claims("w")]
    assert [job.id for job in released if job is not None] == ids
    assert [job.id for job in iter(lambda: store.claim_next("w"), None)] == ids[1:]
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert [job.id for job in store.expired(later)] == ids[:1]
    store.request_delete(ids[0])
    assert store.pending_deletion() == ids[:1]


def test_masks_of_a_row_whose_log_cannot_be_read_are_kept(store: JobStore, new_job: NewJob) -> None:
    """A release changes no list of segments that this version does not understand."""
    store.create(new_job())
    job = store.claim_next("w")
    assert job is not None
    _overwrite(store, job.id, "segments", '[{"object": "s3://bucket/7"}]')
    (claim,) = store.claims()
    assert claim.segments is None
    assert store.release(claim, Release.LOST, segments=claim.segments) is not None
    with store._engine.connect() as connection:
        stored = connection.execute(select(schema.jobs.c.segments).where(schema.jobs.c.id == job.id)).scalar()
    assert stored == [{"object": "s3://bucket/7"}]
