"""Jobs in a database: SQLite with a write-ahead log, or PostgreSQL, by URL.

Every change is one statement that also checks the state it starts from, so any number of processes may share a
database. Methods block; asynchronous code calls them in a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, literal_column, not_, select, text, update

from service.jobs.claims import Claims
from service.jobs.database import migrate as migrate_schema
from service.jobs.database import open_database, roll_back
from service.jobs.fleet import Fleet
from service.jobs.job_time import JobTimes
from service.jobs.outbox import claim_delivery, settle_delivery
from service.jobs.requests import Requests
from service.jobs.rows import RUNNING, VISIBLE
from service.jobs.schema import deliveries, jobs
from service.jobs.types import Delivery, Job

_MAX_PARAMETERS = 1000
"""Values in one statement; databases limit them."""


class JobStore(Requests, Claims, JobTimes, Fleet):
    """All jobs: for clients (`Requests`), workers (`Claims`, `Fleet`), estimates (`JobTimes`) and housekeeping (below).

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

    def schema_version(self) -> str:
        """Return the version of the database's schema: the newest migration it has."""
        with self._engine.connect() as connection:
            return str(connection.scalar(text("SELECT version_num FROM alembic_version")))

    def roll_back(self, version: str) -> None:
        """Take the schema back to that of an earlier keymask, which no process of this one may use meanwhile.

        Raises:
            UsageError: There is no such version, or it is not an earlier one.
        """
        roll_back(self._engine, version)

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

    def claim_delivery(self, busy: Collection[str] = ()) -> tuple[Delivery, Job] | None:
        """Claim an event that is due for sending, but not to a host that is busy; None if there is none."""
        with self._engine.begin() as connection:
            return claim_delivery(connection, busy)

    def settle_delivery(self, delivery: Delivery, answer: str, *, delivered: bool, final: bool = False) -> None:
        """Note how an attempt to send an event ended; it is tried again unless it is delivered or this is final."""
        with self._engine.begin() as connection:
            settle_delivery(connection, delivery, answer, delivered=delivered, final=final)

    def deliveries(self, job_id: str) -> list[Delivery]:
        """Return the events of a job for its webhook, in the order in which they happened."""
        query = select(deliveries).where(deliveries.c.job_id == job_id)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(deliveries.c.created_at, deliveries.c.event.desc()))
            return [Delivery(**row._mapping) for row in rows]

    def remove(self, job_id: str) -> None:
        """Delete the row of a job whose files are already deleted."""
        with self._engine.begin() as connection:
            connection.execute(delete(deliveries).where(deliveries.c.job_id == job_id))
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
