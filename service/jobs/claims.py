"""The workers' side of the job store: who runs which job, how far it is, how it ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, func, or_, select, update

from service.errors import LostJobError
from service.jobs.rows import HERE, QUEUED, RUNNING, Rows, not_before
from service.jobs.schema import jobs, to_columns
from service.jobs.types import Job, JobError, JobProgress, JobStatus, check_transition

MAX_DEATHS = 2
"""A job is given up when this many workers died while they ran it."""
MAX_ATTEMPTS = 20
"""A job is given up when it was started this often, whatever ended it."""


class Release(StrEnum):
    """Why a worker no longer runs its job."""

    DIED = "died"
    """It died while the service lived: perhaps because of the job."""
    LOST = "lost"
    """It ended with the whole service."""
    RETURNED = "returned"
    """It was asked to stop and gave the job back."""


class Claims(Rows):
    """What workers do, and what is done when they are gone."""

    def claim_next(self, worker: str) -> Job | None:
        """Give the oldest waiting job to a worker: it is running then. None if nothing waits."""
        oldest = select(jobs.c.id).where(QUEUED, HERE).order_by(jobs.c.id).limit(1).with_for_update(skip_locked=True)
        start = not_before(jobs.c.created_at, datetime.now(UTC))
        claimed = self._change(
            update(jobs)
            .where(jobs.c.id == oldest.scalar_subquery(), QUEUED)
            .values(
                status=JobStatus.RUNNING,
                worker=worker,
                started_at=func.coalesce(jobs.c.started_at, start),
                attempts=jobs.c.attempts + 1,
            )
        )
        return claimed[0] if claimed else None

    def set_progress(self, job_id: str, worker: str, progress: JobProgress) -> bool:
        """Note how far a running job is; returns whether the worker is to go on (it has the job and no cancel came)."""
        change = update(jobs).where(jobs.c.id == job_id, RUNNING, jobs.c.worker == worker)
        moved = self._hint(change.values(to_columns(progress=progress)))
        return bool(moved) and not moved[0].cancel_requested

    def is_cancel_requested(self, job_id: str) -> bool:
        """Whether the job (visible or not) is to stop."""
        with self._engine.connect() as connection:
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)))

    def move(self, job_id: str, old: JobStatus, new: JobStatus, *, worker: str | None = None, **changes: Any) -> Job:
        """Change the status, if it still is `old` (and the job still belongs to `worker`, if one is given).

        Further attributes of `Job` are changed with it, by name. A finished job gets its times by itself.

        Returns:
            The changed job.

        Raises:
            TransitionError: `new` may not follow `old`.
            LostJobError: The job is not, or no longer, in that status (or with that worker), or is gone.
        """
        check_transition(old, new)
        change = update(jobs).where(jobs.c.id == job_id, jobs.c.status == old)
        if worker is not None:
            change = change.where(jobs.c.worker == worker)
        moved = self._change(
            change.values(to_columns(status=new, **(self._ending() if new.finished else {}), **changes))
        )
        if not moved:
            of = f" with worker {worker}" if worker else ""
            raise LostJobError(f"job {job_id} is no longer {old}{of}")
        return moved[0]

    def release(self, worker: str, why: Release) -> list[Job]:
        """Take what a worker runs from it: queue it again, or cancel or fail it where that is due.

        Only a death counts against the job; one that was given back does not even count as an attempt.
        """
        mine = and_(RUNNING, jobs.c.worker == worker)
        ended = self._ending()
        deaths = jobs.c.deaths + int(why is Release.DIED)
        attempts = jobs.c.attempts - int(why is Release.RETURNED)
        hopeless = or_(deaths >= MAX_DEATHS, attempts >= MAX_ATTEMPTS)
        error = JobError("worker-died", "the worker process died each time it ran this job; the file may be damaged")
        changes = (
            update(jobs)
            .where(mine, jobs.c.cancel_requested.is_(True))
            .values(to_columns(status=JobStatus.CANCELED, **ended)),
            update(jobs)
            .where(mine, hopeless)
            .values(to_columns(status=JobStatus.FAILED, error=error, deaths=deaths, **ended)),
            update(jobs)
            .where(mine)
            .values(
                to_columns(status=JobStatus.QUEUED, worker=None, deaths=deaths, attempts=attempts, stage="waiting")
            ),
        )
        with self._engine.begin() as connection:
            # Locked first: a cancel that comes between two of the changes would not be heeded by the last one.
            connection.execute(select(jobs.c.id).where(mine).with_for_update())
            return self._change_in(connection, *changes)

    def requeue_orphans(self, is_alive: Callable[[str], bool]) -> list[Job]:
        """Queue every running job again whose worker is no longer alive, as after a restart of the service."""
        with self._engine.connect() as connection:
            workers = list(connection.scalars(select(jobs.c.worker).where(RUNNING).distinct()))
        return [job for worker in workers if not is_alive(worker) for job in self.release(worker, Release.LOST)]
