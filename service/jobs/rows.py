"""What every part of the job store does with the table: statements that give jobs, and common conditions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, Update

from service.jobs.schema import job_of, jobs
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
        now = datetime.now(UTC)
        return {"finished_at": now, "expires_at": now + self.retention}

    def _first(self, wanted: Select[Any]) -> Job | None:
        return next(iter(self._all(wanted)), None)

    def _all(self, wanted: Select[Any]) -> list[Job]:
        with self._engine.connect() as connection:
            return [job_of(row) for row in connection.execute(wanted)]

    def _change(self, change: Update) -> list[Job]:
        with self._engine.begin() as connection:
            return [job_of(row) for row in connection.execute(change.returning(*jobs.c))]


def of_key(api_key_id: str | None) -> list[ColumnElement[bool]]:
    """The condition that a job is of this API key; none where no key is given."""
    return [] if api_key_id is None else [jobs.c.api_key_id == api_key_id]
