"""The job store for workers: claim a job, report its progress, end or release it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, func, or_, select, update

from service.errors import LostJobError
from service.jobs.reading import unreadable_error
from service.jobs.rows import QUEUED, RUNNING, VISIBLE, Rows, no_earlier_than
from service.jobs.schema import jobs, to_columns
from service.jobs.types import Job, JobError, JobProgress, JobStatus, check_transition

MAX_DEATHS = 2
"""A job fails once this many workers have died while running it."""
MAX_ATTEMPTS = 20
"""A job fails once it has been started this often, however the attempts ended."""


class Release(StrEnum):
    """Reason why a worker no longer runs its job."""

    DIED = "died"
    """The worker alone died, perhaps because of the job."""
    LOST = "lost"
    """The worker ended together with the service."""
    RETURNED = "returned"
    """The worker was asked to stop and returned the job."""


class Claims(Rows):
    """Changes by workers, and the release of jobs whose worker is gone."""

    def claim_next(self, worker: str) -> Job | None:
        """Assign a queued job to a worker and mark it as running. Returns None if no job is queued.

        A job that cannot be read fails at once, so that it keeps no other from running.
        """
        while (job := self._claim(worker)) is not None and job.unreadable:
            self.move(job.id, JobStatus.RUNNING, JobStatus.FAILED, worker=worker, error=unreadable_error(job))
        return job

    def _claim(self, worker: str) -> Job | None:
        oldest = select(jobs.c.id).where(QUEUED, VISIBLE).order_by(jobs.c.id).limit(1).with_for_update(skip_locked=True)
        start = no_earlier_than(jobs.c.created_at, datetime.now(UTC))
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
        """Store the progress of a running job.

        Returns:
            Whether the worker should continue: it still owns the job, and nobody has canceled it.
        """
        change = update(jobs).where(jobs.c.id == job_id, RUNNING, jobs.c.worker == worker)
        moved = self._change_relaxed(change.values(to_columns(progress=progress)))
        return bool(moved) and not moved[0].cancel_requested

    def is_cancel_requested(self, job_id: str) -> bool:
        """Return whether the job, visible or not, should stop."""
        with self._engine.connect() as connection:
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)))

    def move(self, job_id: str, old: JobStatus, new: JobStatus, *, worker: str | None = None, **changes: Any) -> Job:
        """Change the status of a job if it still is `old` and, if `worker` is given, that worker still owns the job.

        Args:
            job_id: Id of the job.
            old: Expected status.
            new: New status. A finished job also gets its `finished_at` and `expires_at`.
            worker: Expected worker.
            changes: New values of further attributes of `Job`.

        Returns:
            The changed job.

        Raises:
            TransitionError: `new` may not follow `old`.
            LostJobError: The status or the worker is another one, or the job is gone.
        """
        check_transition(old, new)
        change = update(jobs).where(jobs.c.id == job_id, jobs.c.status == old)
        if worker is not None:
            change = change.where(jobs.c.worker == worker)
        moved = self._change(
            change.values(to_columns(status=new, **(self._end_times() if new.finished else {}), **changes))
        )
        if not moved:
            owner = f" with worker {worker}" if worker else ""
            raise LostJobError(f"job {job_id} is no longer {old}{owner}")
        return moved[0]

    def release(self, worker: str, why: Release) -> list[Job]:
        """Take a worker's jobs away from it: cancel, fail (retries exhausted) or requeue each.

        Only a death counts against a job. A returned job does not count as an attempt either.
        """
        mine = and_(RUNNING, jobs.c.worker == worker)
        ended = self._end_times()
        deaths = jobs.c.deaths + int(why is Release.DIED)
        attempts = jobs.c.attempts - int(why is Release.RETURNED)
        retries_exhausted = or_(deaths >= MAX_DEATHS, attempts >= MAX_ATTEMPTS)
        error = JobError("worker-died", "the worker process died each time it ran this job; the file may be damaged")
        changes = (
            update(jobs)
            .where(mine, jobs.c.cancel_requested.is_(True))
            .values(to_columns(status=JobStatus.CANCELED, **ended)),
            update(jobs)
            .where(mine, retries_exhausted)
            .values(to_columns(status=JobStatus.FAILED, error=error, deaths=deaths, **ended)),
            update(jobs)
            .where(mine)
            .values(
                to_columns(status=JobStatus.QUEUED, worker=None, deaths=deaths, attempts=attempts, stage="waiting")
            ),
        )
        with self._engine.begin() as connection:
            # Lock the rows first, else the last change would miss a cancel that arrives between two changes.
            connection.execute(select(jobs.c.id).where(mine).with_for_update())
            return self._change_in(connection, *changes)

    def requeue_orphans(self, is_alive: Callable[[str], bool]) -> list[Job]:
        """Release every running job whose worker is no longer alive, as after a restart of the service."""
        with self._engine.connect() as connection:
            workers = list(connection.scalars(select(jobs.c.worker).where(RUNNING).distinct()))
        return [job for worker in workers if not is_alive(worker) for job in self.release(worker, Release.LOST)]
