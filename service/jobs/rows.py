"""Statements and conditions that all parts of the job store share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, Update, case, func, literal, update

from service.jobs.database import relaxed_transaction
from service.jobs.outbox import note_event
from service.jobs.reading import UtcDateTime, job_of
from service.jobs.schema import jobs
from service.jobs.types import Job, JobStatus

VISIBLE = jobs.c.delete_requested.is_(False)
RUNNING = jobs.c.status == JobStatus.RUNNING
QUEUED = jobs.c.status == JobStatus.QUEUED


class Rows:
    """Access to the table of jobs.

    Args:
        engine: Database engine.
        retention: How long a finished job is kept.
    """

    def __init__(self, engine: Engine, retention: timedelta) -> None:
        self._engine = engine
        self.retention = retention

    def _end_times(self) -> dict[str, Any]:
        """Return the columns of the times of a job that ends now."""
        now = datetime.now(UTC)
        start = func.coalesce(jobs.c.started_at, jobs.c.created_at)
        return {"finished_at": no_earlier_than(start, now), "expires_at": now + self.retention}

    def _first(self, query: Select[Any]) -> Job | None:
        return next(iter(self._all(query)), None)

    def _all(self, query: Select[Any]) -> list[Job]:
        with self._engine.connect() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def _change(self, *changes: Update) -> list[Job]:
        """Make changes in order in one transaction and return the changed jobs."""
        with self._engine.begin() as connection:
            return self._change_in(connection, *changes)

    def _change_relaxed(self, change: Update) -> list[Job]:
        """Like `_change`, but without waiting for the disk: a power cut may undo the change."""
        with relaxed_transaction(self._engine) as connection:
            return self._change_in(connection, change)

    def _change_in(self, connection: Connection, *changes: Update) -> list[Job]:
        changed = [job_of(row) for change in changes for row in connection.execute(change.returning(*jobs.c))]
        for job in changed:
            if job.status.finished:
                note_event(connection, job)
        return [self._extend_expiry(connection, job) for job in changed]

    def _extend_expiry(self, connection: Connection, job: Job) -> Job:
        """Move `expires_at` of a job that `no_earlier_than` ended later than now.

        SQLite cannot add a time span to a column itself.
        """
        if job.finished_at is None or job.expires_at is None or job.expires_at - job.finished_at >= self.retention:
            return job
        expires_at = job.finished_at + self.retention
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(expires_at=expires_at))
        return replace(job, expires_at=expires_at)


def no_earlier_than(earliest: ColumnElement[datetime], now: datetime) -> ColumnElement[datetime]:
    """Return `now`, or `earliest` if that is later.

    The clock is read before the statement runs, and clocks go back.
    """
    moment = literal(now, UtcDateTime)
    return case((earliest > moment, earliest), else_=moment)


def owned_by(api_key_id: str | None) -> list[ColumnElement[bool]]:
    """Return the condition that this API key owns the job; without a key there is no condition."""
    return [] if api_key_id is None else [jobs.c.api_key_id == api_key_id]
