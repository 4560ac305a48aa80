"""The job store for those who watch a cluster: signs of life of processes with workers, the queue and what runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select

from service.jobs.database import relaxed_transaction, upsert
from service.jobs.rows import QUEUED, RUNNING, VISIBLE, Rows
from service.jobs.schema import jobs, workers


@dataclass(frozen=True, slots=True)
class Running:
    """What a worker of any process does.

    Attributes:
        worker: Name of the worker.
        fps: Frames per second of its job so far, None before the first.
        lease_until: End of its claim if it is not renewed.
    """

    worker: str
    fps: float | None
    lease_until: datetime | None


class Fleet(Rows):
    """Reads and stores what is known of workers, wherever they run."""

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

    def running(self) -> list[Running]:
        """Return what all workers run now."""
        query = select(jobs.c.worker, jobs.c.fps, jobs.c.lease_until).where(RUNNING).order_by(jobs.c.worker)
        with self._engine.connect() as connection:
            return [Running(row.worker or "", row.fps, row.lease_until) for row in connection.execute(query)]

    def queued_since(self) -> datetime | None:
        """Return when the oldest waiting job was created, None if none waits."""
        with self._engine.connect() as connection:
            oldest: datetime | None = connection.scalar(select(func.min(jobs.c.created_at)).where(QUEUED, VISIBLE))
        return oldest
