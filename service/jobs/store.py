"""Jobs in a database: SQLite with a write-ahead log, or PostgreSQL, by URL.

Every change is one statement that also checks the state it starts from, so any number of processes may share a
database. Methods block; asynchronous code calls them in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, literal_column, not_, select, update

from service.jobs.claims import Claims
from service.jobs.database import migrate as migrate_schema
from service.jobs.database import open_database, relaxed_transaction, upsert
from service.jobs.job_time import JobTimes
from service.jobs.requests import Requests
from service.jobs.rows import RUNNING, VISIBLE
from service.jobs.schema import jobs, workers
from service.jobs.types import Job

_MAX_PARAMETERS = 1000
"""Values in one statement; databases limit them."""


class JobStore(Requests, Claims, JobTimes):
    """All jobs, for clients (`Requests`), workers (`Claims`), estimates (`JobTimes`) and the housekeeper (below).

    Args:
        url: SQLAlchemy URL, such as "sqlite:////var/lib/keymask/jobs.db", "sqlite://" (in memory) or
            "postgresql+psycopg://...".
        retention: How long a finished job and its files are kept.
        migrate: Whether to bring the schema up to date first. Workers leave this to the service.

    Raises:
        UsageError: The URL names another kind of database.
    """

    def __init__(self, url: str, *, retention: timedelta = timedelta(days=1), migrate: bool = True) -> None:
        super().__init__(open_database(url), retention)
        self.url = url
        if migrate:
            migrate_schema(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def ping(self) -> None:
        """Raise an error unless the database answers (for `/health/ready`)."""
        with self._engine.connect() as connection:
            connection.execute(select(literal_column("1")))

    def announce_worker(self, name: str, sign: str) -> None:
        """Store a sign of life of a process with workers."""
        with relaxed_transaction(self._engine) as connection:
            upsert(connection, workers, {"name": name}, {"sign": sign})

    def announced_workers(self) -> dict[str, str]:
        """Return name -> latest sign of life of each process with workers, dead or alive."""
        with self._engine.connect() as connection:
            return {row.name: row.sign for row in connection.execute(select(workers))}

    def forget_worker(self, name: str) -> None:
        """Delete the signs of life of a process."""
        with self._engine.begin() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def expired(self, now: datetime) -> list[Job]:
        """Return the finished jobs whose `expires_at` is not after `now`."""
        return self._all(select(jobs).where(VISIBLE, jobs.c.expires_at <= now))

    def cap_expiry(self, now: datetime) -> None:
        """Let no finished job be kept longer than the retention from `now` on, whatever clock set its `expires_at`."""
        latest = now + self.retention
        with self._engine.begin() as connection:
            connection.execute(update(jobs).where(jobs.c.expires_at > latest).values(expires_at=latest))

    def pending_deletion(self) -> list[str]:
        """Return the ids of jobs whose deletion was requested and that are not running."""
        removable = and_(jobs.c.delete_requested.is_(True), not_(RUNNING))
        with self._engine.connect() as connection:
            return list(connection.scalars(select(jobs.c.id).where(removable)))

    def remove(self, job_id: str) -> None:
        """Delete the row of a job whose files are already deleted."""
        with self._engine.begin() as connection:
            connection.execute(delete(jobs).where(jobs.c.id == job_id))

    def known(self, job_ids: Iterable[str]) -> set[str]:
        """Return the given ids that have a row, visible or not."""
        ids = list(job_ids)
        found: set[str] = set()
        with self._engine.connect() as connection:
            for part in _parts(ids):
                found.update(connection.scalars(select(jobs.c.id).where(jobs.c.id.in_(part))))
        return found

    def owners(self, job_ids: Iterable[str]) -> dict[str, str]:
        """Return the API key of each of the given jobs that has a row, "" for a job without a key."""
        found: dict[str, str] = {}
        with self._engine.connect() as connection:
            for part in _parts(list(job_ids)):
                rows = connection.execute(select(jobs.c.id, jobs.c.api_key_id).where(jobs.c.id.in_(part)))
                found.update({job_id: key for job_id, key in rows})  # noqa: C416 - rows are no plain tuples
        return found


def _parts(ids: list[str]) -> Iterator[list[str]]:
    """Split a list so that one statement takes each part."""
    return (ids[start : start + _MAX_PARAMETERS] for start in range(0, len(ids), _MAX_PARAMETERS))
