"""The job store for clients: create, get, list, cancel and delete jobs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from service.errors import IdempotencyConflictError, JobNotFoundError, QueueFullError, TooManyJobsError
from service.jobs.database import lock_creation
from service.jobs.rows import QUEUED, RUNNING, VISIBLE, Rows, owned_by
from service.jobs.schema import jobs, row_of, to_columns
from service.jobs.types import UNFINISHED, Job, JobStatus


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Largest numbers of unfinished jobs; None sets no limit.

    Attributes:
        queued: Number of queued jobs.
        unfinished_per_key: Number of queued and running jobs per API key (of all callers together without keys).
    """

    queued: int | None = None
    unfinished_per_key: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list of jobs.

    Attributes:
        jobs: The jobs, newest first.
        cursor: Cursor of the next page, None on the last page.
    """

    jobs: tuple[Job, ...]
    cursor: str | None


NO_LIMITS = QueueLimits()


class Requests(Rows):
    """Requests of clients. They do not see a job whose deletion was requested."""

    def create(self, job: Job, limits: QueueLimits = NO_LIMITS) -> tuple[Job, bool]:
        """Add a queued job.

        Returns:
            The job, and whether it is new. An earlier job is returned if the same API key posted the same payload with
            the same Idempotency-Key; the caller then deletes the files of the new job.

        Raises:
            IdempotencyConflictError: The Idempotency-Key was used with another payload.
            QueueFullError, TooManyJobsError: A limit is reached.
        """
        if job.idempotency_key and (earlier := self._find_duplicate(job)):
            return earlier, False
        try:
            with self._engine.begin() as connection:
                lock_creation(connection)
                # Insert first: in SQLite this makes other writers wait until the jobs are counted.
                connection.execute(insert(jobs).values(row_of(job)))
                _check_limits(connection, job, limits)
        except IntegrityError:
            if job.idempotency_key and (earlier := self._find_duplicate(job)):
                return earlier, False
            raise
        return job, True

    def get(self, job_id: str, api_key_id: str | None = None) -> Job:
        """Return the job with this id, which this API key must own if one is given.

        Raises:
            JobNotFoundError: There is no such job.
        """
        found = self._first(select(jobs).where(jobs.c.id == job_id, VISIBLE, *owned_by(api_key_id)))
        if found is None:
            raise JobNotFoundError(f"there is no job {job_id}")
        return found

    def find(self, api_key_id: str | None, idempotency_key: str) -> Job | None:
        """Return the job that was created with this Idempotency-Key, None if there is none."""
        return self._first(
            select(jobs).where(jobs.c.api_key_id == (api_key_id or ""), jobs.c.idempotency_key == idempotency_key)
        )

    def page(
        self,
        limit: int = 20,
        cursor: str | None = None,
        status: JobStatus | None = None,
        api_key_id: str | None = None,
    ) -> Page:
        """Return a page of jobs, newest first.

        A cursor is the id of the last job on the page, so it stays valid when jobs are created and deleted.
        """
        query = select(jobs).where(VISIBLE, *owned_by(api_key_id))
        if cursor is not None:
            query = query.where(jobs.c.id < cursor)
        if status is not None:
            query = query.where(jobs.c.status == status)
        found = self._all(query.order_by(jobs.c.id.desc()).limit(limit + 1))
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    def versions(self, job: Job) -> list[Job]:
        """Return the jobs that correct the same first job, and that one, the oldest first."""
        origin = job.origin or job.id
        mine = jobs.c.api_key_id == (job.api_key_id or "")
        query = select(jobs).where(VISIBLE, mine, or_(jobs.c.id == origin, jobs.c.origin == origin))
        return self._all(query.order_by(jobs.c.id))

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a queued job at once, a running job through its worker within a second. A finished job stays as it is.

        Raises:
            JobNotFoundError: There is no such job.
        """
        mine = and_(jobs.c.id == job_id, VISIBLE)
        canceled = to_columns(status=JobStatus.CANCELED, cancel_requested=True, **self._end_times())
        # A worker may claim or return the job between the two statements, hence the second round.
        for _ in range(2):
            moved = self._change(update(jobs).where(mine, QUEUED).values(canceled)) or self._change(
                update(jobs).where(mine, RUNNING).values(cancel_requested=True)
            )
            if moved:
                return moved[0]
        return self.get(job_id)

    def request_delete(self, job_id: str) -> Job:
        """Hide a job and cancel it. The housekeeper later deletes its files and then its row.

        Its Idempotency-Key can be used again.

        Raises:
            JobNotFoundError: There is no such job.
        """
        job = self.request_cancel(job_id)
        change = update(jobs).where(jobs.c.id == job_id, VISIBLE)
        self._change(change.values(delete_requested=True, cancel_requested=True, idempotency_key=None))
        return job

    def counts(self) -> dict[JobStatus, int]:
        """Return the number of jobs per status, including zeros."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(jobs.c.status, func.count()).where(VISIBLE).group_by(jobs.c.status))
            found = {status: count for status, count in rows}  # noqa: C416 - rows are no plain tuples
        return {status: found.get(status, 0) for status in JobStatus}

    def count_unfinished(self, api_key_id: str | None = None) -> tuple[int, int]:
        """Return the number of queued jobs, and of the unfinished jobs of an API key (of all without keys)."""
        mine = jobs.c.api_key_id == (api_key_id or "")
        counts = (func.count().filter(QUEUED), func.count().filter(mine))
        query = select(*counts).where(VISIBLE, jobs.c.status.in_(UNFINISHED))
        with self._engine.connect() as connection:
            queued, unfinished = connection.execute(query).one()
        return queued, unfinished

    def _find_duplicate(self, job: Job) -> Job | None:
        """Return the earlier job with the Idempotency-Key of this one."""
        earlier = self.find(job.api_key_id, job.idempotency_key or "")
        if earlier and earlier.payload_sha256 != job.payload_sha256:
            raise IdempotencyConflictError(
                f"the Idempotency-Key {job.idempotency_key!r} was used for another request; choose a new one"
            )
        return earlier


def _check_limits(connection: Connection, job: Job, limits: QueueLimits) -> None:
    """Refuse the job just inserted if it exceeds a limit. Jobs pending deletion do not count."""

    def count(*conditions: ColumnElement[bool]) -> int:
        return connection.scalar(select(func.count()).select_from(jobs).where(VISIBLE, *conditions)) or 0

    if limits.queued is not None and count(QUEUED) > limits.queued:
        raise QueueFullError(f"{limits.queued} jobs are waiting, which is the limit; try again later")
    mine = (jobs.c.api_key_id == (job.api_key_id or ""), jobs.c.status.in_(UNFINISHED))
    if limits.unfinished_per_key is not None and count(*mine) > limits.unfinished_per_key:
        raise TooManyJobsError(
            f"{limits.unfinished_per_key} of your jobs are unfinished, which is the limit; try again later"
        )
