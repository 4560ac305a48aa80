"""Jobs in a database: SQLite with a write-ahead log, or PostgreSQL, by URL.

Every change is one statement that also checks what it starts from, so any number of processes may use one database.
Methods block; call them from a thread in asynchronous code.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, literal_column, not_, select

from service.jobs.claims import Claims
from service.jobs.database import migrate as migrate_schema
from service.jobs.database import open_database
from service.jobs.requests import Requests
from service.jobs.rows import HERE, RUNNING
from service.jobs.schema import jobs
from service.jobs.types import Job

_MOST_PARAMETERS = 1000
"""Values in one statement; databases have their limits."""


class JobStore(Requests, Claims):
    """All jobs: for clients, for workers, and for who cleans up.

    Args:
        url: SQLAlchemy URL, such as "sqlite:////var/lib/keymask/jobs.db", "sqlite://" (in memory) or
            "postgresql+psycopg://...".
        retention: How long a finished job and its files are kept.
        migrate: Whether to bring the schema up to date first; workers leave that to the service.

    Raises:
        UsageError: The URL is not one of these.
    """

    def __init__(self, url: str, *, retention: timedelta = timedelta(days=1), migrate: bool = True) -> None:
        super().__init__(open_database(url), retention)
        self.url = url
        if migrate:
            migrate_schema(self._engine)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def ping(self) -> None:
        """Raise unless the database answers (for `/health/ready`)."""
        with self._engine.connect() as connection:
            connection.execute(select(literal_column("1")))

    def expired(self, now: datetime) -> list[Job]:
        """Finished jobs whose `expires_at` is not after `now`."""
        return self._all(select(jobs).where(HERE, jobs.c.expires_at <= now))

    def pending_deletion(self) -> list[str]:
        """Ids of jobs that are to be deleted and do not run (any more)."""
        gone = and_(jobs.c.delete_requested.is_(True), not_(RUNNING))
        with self._engine.connect() as connection:
            return list(connection.scalars(select(jobs.c.id).where(gone)))

    def remove(self, job_id: str) -> None:
        """Remove the row, after the files."""
        with self._engine.begin() as connection:
            connection.execute(delete(jobs).where(jobs.c.id == job_id))

    def known(self, job_ids: Iterable[str]) -> set[str]:
        """Those of the ids that have a row, visible or not."""
        wanted = list(job_ids)
        found: set[str] = set()
        with self._engine.connect() as connection:
            for start in range(0, len(wanted), _MOST_PARAMETERS):
                some = wanted[start : start + _MOST_PARAMETERS]
                found.update(connection.scalars(select(jobs.c.id).where(jobs.c.id.in_(some))))
        return found
