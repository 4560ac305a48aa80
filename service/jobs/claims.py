"""The job store for workers: claim a job, report its progress, end or release it.

A claim raises the job's fence. Every later change by the worker requires that the job still has this fence and is
running, so a worker that was stopped while another one took the job over can change nothing, whatever it believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update

from service.errors import LostJobError
from service.jobs.fair_order import next_job, take_turn, waiting_keys
from service.jobs.outbox import note_event
from service.jobs.reading import claim_of, unreadable_error
from service.jobs.rows import QUEUED, RUNNING, Rows, no_earlier_than
from service.jobs.schema import CLAIM, jobs, to_columns
from service.jobs.types import Claim, Job, JobError, JobProgress, JobStatus, LogSegment, check_transition

MAX_DEATHS = 2
"""A job fails once this many workers have died while running it."""
MAX_ATTEMPTS = 20
"""A job fails once it has been started this often, however the attempts ended."""
LEASE = timedelta(seconds=15)
"""Default of how long a claim holds without being renewed."""
_WORKER_DIED = JobError("worker-died", "the worker process died each time it ran this job; the file may be damaged")


class Release(StrEnum):
    """Reason why a worker no longer runs its job."""

    DIED = "died"
    """The worker alone died or ran into a defect, perhaps because of the job."""
    LOST = "lost"
    """The worker has shown no sign of life for a whole lease, perhaps because its machine stopped."""
    RETURNED = "returned"
    """The worker was asked to stop and returned the job."""


class Claims(Rows):
    """Changes by workers, and the release of jobs whose worker is gone."""

    def claim_next(self, worker: str, lease: timedelta = LEASE) -> Job | None:
        """Assign a queued job to a worker and mark it as running. Returns None if no job is queued.

        A job that cannot be read fails at once, so that it keeps no other from running.
        """
        while (job := self._claim(worker, lease)) is not None and job.unreadable:
            self.move(job.id, JobStatus.RUNNING, JobStatus.FAILED, fence=job.fence, error=unreadable_error(job))
        return job

    def _claim(self, worker: str, lease: timedelta) -> Job | None:
        now = datetime.now(UTC)
        claim = update(jobs).values(
            status=JobStatus.RUNNING,
            worker=worker,
            fence=jobs.c.fence + 1,
            lease_until=now + lease,
            started_at=func.coalesce(jobs.c.started_at, no_earlier_than(jobs.c.created_at, now)),
            attempts=jobs.c.attempts + 1,
        )
        with self._engine.begin() as connection:
            # Idle workers ask often, and a change, even of no row, locks SQLite: none is tried without a queued job.
            for key in waiting_keys(connection):
                if claimed := self._change_in(connection, claim.where(jobs.c.id == next_job(key), QUEUED)):
                    note_event(connection, claimed[0])
                    take_turn(connection, claimed[0].api_key_id)
                    return claimed[0]
        return None

    def renew(self, job_id: str, fence: int, lease: timedelta = LEASE) -> bool:
        """Prolong a claim; return whether the worker still has the job."""
        change = update(jobs).where(_held(job_id, fence)).values(lease_until=datetime.now(UTC) + lease)
        return bool(self._change_relaxed(change))

    def set_progress(self, job_id: str, fence: int, progress: JobProgress) -> bool:
        """Store the progress of a running job; return whether the worker should continue: nobody has canceled it.

        Raises:
            LostJobError: The worker no longer has the job.
        """
        moved = self._change_relaxed(update(jobs).where(_held(job_id, fence)).values(to_columns(progress=progress)))
        if not moved:
            raise _lost(job_id, fence)
        return not moved[0].cancel_requested

    def set_segments(self, job_id: str, fence: int, segments: Sequence[LogSegment]) -> None:
        """Decide what counts of the mask log, before the worker writes to its own part of it.

        Raises:
            LostJobError: The worker no longer has the job.
        """
        if not self._change(update(jobs).where(_held(job_id, fence)).values(to_columns(segments=segments))):
            raise _lost(job_id, fence)

    def is_cancel_requested(self, job_id: str) -> bool:
        """Return whether the job, visible or not, should stop."""
        with self._engine.connect() as connection:
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)))

    def move(self, job_id: str, old: JobStatus, new: JobStatus, *, fence: int | None = None, **changes: Any) -> Job:
        """Change the status of a job if it still is `old` and, if `fence` is given, nobody has claimed it since.

        Args:
            job_id: Id of the job.
            old: Expected status.
            new: New status. A finished job also gets its `finished_at` and `expires_at`.
            fence: Expected fence.
            changes: New values of further attributes of `Job`.

        Returns:
            The changed job.

        Raises:
            TransitionError: `new` may not follow `old`.
            LostJobError: The status or the fence is another one, or the job is gone.
        """
        check_transition(old, new)
        change = update(jobs).where(jobs.c.id == job_id, jobs.c.status == old)
        if fence is not None:
            change = change.where(jobs.c.fence == fence)
        moved = self._change(
            change.values(to_columns(status=new, **(self._end_times() if new.finished else {}), **changes))
        )
        if not moved:
            raise LostJobError(f"job {job_id} is no longer {old}{'' if fence is None else f' with fence {fence}'}")
        return moved[0]

    def claims(self, worker: str | None = None) -> list[Claim]:
        """Return the claims on all running jobs, or on those of one worker."""
        query = select(*CLAIM).where(RUNNING)
        with self._engine.connect() as connection:
            rows = connection.execute(query if worker is None else query.where(jobs.c.worker == worker))
            return [claim_of(row) for row in rows]

    def release(
        self,
        claim: Claim,
        why: Release,
        *,
        segments: Sequence[LogSegment] | None = None,
        error: JobError = _WORKER_DIED,
    ) -> Job | None:
        """Take a job away from its worker: cancel, fail (retries exhausted) or requeue it.

        Only a death counts against a job. A returned job does not count as an attempt either.

        Args:
            claim: The claim. If it does not hold any more, or `why` is `LOST` and it was renewed since, nothing is
                changed.
            why: Why the worker no longer runs it.
            segments: What counts of the mask log from now on; by default that stays as it is.
            error: The error of the job if it may not be tried again.

        Returns:
            The changed job, None if nothing was changed.
        """
        mine = _held(claim.job_id, claim.fence)
        if why is Release.LOST:
            mine = and_(mine, jobs.c.lease_until.is_not_distinct_from(claim.lease_until))
        ended = self._end_times()
        deaths = jobs.c.deaths + int(why is Release.DIED)
        attempts = jobs.c.attempts - int(why is Release.RETURNED)
        retries_exhausted = or_(deaths >= MAX_DEATHS, attempts >= MAX_ATTEMPTS)
        log = {} if segments is None else {"segments": segments}
        changes = (
            update(jobs)
            .where(mine, jobs.c.cancel_requested.is_(True))
            .values(to_columns(status=JobStatus.CANCELED, **log, **ended)),
            update(jobs)
            .where(mine, retries_exhausted)
            .values(to_columns(status=JobStatus.FAILED, error=error, deaths=deaths, **log, **ended)),
            update(jobs)
            .where(mine)
            .values(
                to_columns(
                    status=JobStatus.QUEUED, worker=None, deaths=deaths, attempts=attempts, stage="waiting", **log
                )
            ),
        )
        with self._engine.begin() as connection:
            # Lock the row first, else the last change would miss a cancel that arrives between two changes.
            connection.execute(select(jobs.c.id).where(mine).with_for_update())
            changed = self._change_in(connection, *changes)
        return changed[0] if changed else None


def _held(job_id: str, fence: int) -> ColumnElement[bool]:
    """Return the condition that the worker that claimed the job with this fence still has it."""
    return and_(jobs.c.id == job_id, jobs.c.fence == fence, RUNNING)


def _lost(job_id: str, fence: int) -> LostJobError:
    return LostJobError(f"job {job_id} is no longer running with fence {fence}")
