"""What every part of the job store does with the table: statements that give jobs, and common conditions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, Update, case, func, literal, update

from service.jobs.database import hasty
from service.jobs.schema import UtcDateTime, job_of, jobs
from service.jobs.types import Job, JobStatus

HERE = jobs.c.delete_requested.is_(False)
RUNNING = jobs.c.status == JobStatus.RUNNING
QUEUED = jobs.c.status == JobStatus.QUEUED


class Rows:
    """The table of jobs in a database.

    Args:
        engine: The database.
        retention: How long a finished job is kept.
    """

    def __init__(self, engine: Engine, retention: timedelta) -> None:
        self._engine = engine
        self.retention = retention

    def _ending(self) -> dict[str, Any]:
        """The times of a job that ends now, for `_change`."""
        now = datetime.now(UTC)
        begun = func.coalesce(jobs.c.started_at, jobs.c.created_at)
        return {"finished_at": not_before(begun, now), "expires_at": now + self.retention}

    def _first(self, wanted: Select[Any]) -> Job | None:
        return next(iter(self._all(wanted)), None)

    def _all(self, wanted: Select[Any]) -> list[Job]:
        with self._engine.connect() as connection:
            return [job_of(row) for row in connection.execute(wanted)]

    def _change(self, *changes: Update) -> list[Job]:
        """Make changes in one transaction, one after the other; gives the jobs as they are then."""
        with self._engine.begin() as connection:
            return self._change_in(connection, *changes)

    def _hint(self, change: Update) -> list[Job]:
        """As `_change`, for what may be lost in a power cut: it does not wait for the disk."""
        with hasty(self._engine) as connection:
            return self._change_in(connection, change)

    def _change_in(self, connection: Connection, *changes: Update) -> list[Job]:
        changed = [job_of(row) for change in changes for row in connection.execute(change.returning(*jobs.c))]
        return [self._kept_for_long_enough(connection, job) for job in changed]

    def _kept_for_long_enough(self, connection: Connection, job: Job) -> Job:
        """A job whose end was put off until its start expires as much later; SQLite could not add the two itself."""
        if job.finished_at is None or job.expires_at is None or job.expires_at - job.finished_at >= self.retention:
            return job
        expires_at = job.finished_at + self.retention
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(expires_at=expires_at))
        return replace(job, expires_at=expires_at)


def not_before(earliest: ColumnElement[datetime], now: datetime) -> ColumnElement[datetime]:
    """`now`, or `earliest` if that is later: the clock is read before the database looks, and clocks go back."""
    moment = literal(now, UtcDateTime)
    return case((earliest > moment, earliest), else_=moment)


def of_key(api_key_id: str | None) -> list[ColumnElement[bool]]:
    """The condition that a job is of this API key; none where no key is given."""
    return [] if api_key_id is None else [jobs.c.api_key_id == api_key_id]
