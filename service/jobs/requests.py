"""The client's side of the job store: create, look at, list, cancel, delete."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.errors import IdempotencyConflictError, JobNotFoundError, QueueFullError, TooManyJobsError
from service.jobs.database import lock_creation
from service.jobs.rows import HERE, QUEUED, RUNNING, Rows, of_key
from service.jobs.schema import jobs, row_of, to_columns
from service.jobs.types import UNFINISHED, Job, JobStatus


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many unfinished jobs there may be; None: any number.

    Attributes:
        queued: Waiting jobs.
        unfinished_per_key: Waiting and running jobs of one API key (of all callers together without keys).
    """

    queued: int | None = None
    unfinished_per_key: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list.

    Attributes:
        jobs: Newest first.
        cursor: What to pass for the next part; None at the end.
    """

    jobs: tuple[Job, ...]
    cursor: str | None


NO_LIMITS = QueueLimits()


class Requests(Rows):
    """What clients ask for. A job whose deletion was requested is invisible here."""

    def create(self, job: Job, limits: QueueLimits = NO_LIMITS) -> tuple[Job, bool]:
        """Add a queued job.

        Returns:
            The job and whether it is new; an earlier one if the same API key used the same Idempotency-Key for the same
            payload (then the caller removes the files it stored for the new one).

        Raises:
            IdempotencyConflictError: Same key, other payload.
            QueueFullError, TooManyJobsError: A limit is reached.
        """
        if job.idempotency_key and (earlier := self._same(job)):
            return earlier, False
        try:
            with self._engine.begin() as connection:
                lock_creation(connection)
                # The insertion comes first: in SQLite it makes other writers wait until the count is done.
                connection.execute(insert(jobs).values(row_of(job)))
                _check_limits(connection, job, limits)
        except IntegrityError:
            if job.idempotency_key and (earlier := self._same(job)):
                return earlier, False
            raise
        return job, True

    def get(self, job_id: str, api_key_id: str | None = None) -> Job:
        """The job with this id (of this API key, if one is given).

        Raises:
            JobNotFoundError: There is none.
        """
        found = self._first(select(jobs).where(jobs.c.id == job_id, HERE, *of_key(api_key_id)))
        if found is None:
            raise JobNotFoundError(f"there is no job {job_id}")
        return found

    def find(self, api_key_id: str | None, idempotency_key: str) -> Job | None:
        """The job that was created with this Idempotency-Key, to answer before an upload is read to its end."""
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
        """Jobs, newest first. A cursor stays good when jobs come and go: it is the id of the last job of the page."""
        wanted = select(jobs).where(HERE, *of_key(api_key_id))
        if cursor is not None:
            wanted = wanted.where(jobs.c.id < cursor)
        if status is not None:
            wanted = wanted.where(jobs.c.status == status)
        found = self._all(wanted.order_by(jobs.c.id.desc()).limit(limit + 1))
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    def request_cancel(self, job_id: str) -> Job:
        """A waiting job is canceled at once, a running one by its worker within a second; a finished one stays.

        Raises:
            JobNotFoundError: There is none.
        """
        mine = and_(jobs.c.id == job_id, HERE)
        canceled = to_columns(status=JobStatus.CANCELED, cancel_requested=True, **self._ending())
        # Between the two statements a worker may claim the job or give it back, hence the second round.
        for _ in range(2):
            moved = self._change(update(jobs).where(mine, QUEUED).values(canceled)) or self._change(
                update(jobs).where(mine, RUNNING).values(cancel_requested=True)
            )
            if moved:
                return moved[0]
        return self.get(job_id)

    def request_delete(self, job_id: str) -> Job:
        """Make a job invisible and cancel it; `service.engine.housekeeper` removes its files and then its row.

        Its Idempotency-Key is free again.

        Raises:
            JobNotFoundError: There is none.
        """
        job = self.request_cancel(job_id)
        change = update(jobs).where(jobs.c.id == job_id, HERE)
        self._change(change.values(delete_requested=True, cancel_requested=True, idempotency_key=None))
        return job

    def counts(self) -> dict[JobStatus, int]:
        """Status -> number of jobs, 0 included."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(jobs.c.status, func.count()).where(HERE).group_by(jobs.c.status))
            found = {status: count for status, count in rows}  # noqa: C416 - rows are no plain tuples
        return {status: found.get(status, 0) for status in JobStatus}

    def _same(self, job: Job) -> Job | None:
        """The earlier job with the Idempotency-Key of this one."""
        earlier = self.find(job.api_key_id, job.idempotency_key or "")
        if earlier and earlier.payload_sha256 != job.payload_sha256:
            raise IdempotencyConflictError(
                f"the Idempotency-Key {job.idempotency_key!r} was used for another request; choose a new one"
            )
        return earlier


def _check_limits(connection: Connection, job: Job, limits: QueueLimits) -> None:
    """Refuse the job that was just inserted if it is one too many; those that are to be deleted do not count."""

    def count(*conditions: ColumnElement[bool]) -> int:
        return connection.scalar(select(func.count()).select_from(jobs).where(HERE, *conditions)) or 0

    if limits.queued is not None and count(QUEUED) > limits.queued:
        raise QueueFullError(f"{limits.queued} jobs are waiting, as many as are allowed; try again later")
    mine = (jobs.c.api_key_id == (job.api_key_id or ""), jobs.c.status.in_(UNFINISHED))
    if limits.unfinished_per_key is not None and count(*mine) > limits.unfinished_per_key:
        raise TooManyJobsError(
            f"{limits.unfinished_per_key} of your jobs are unfinished, as many as are allowed; try again later"
        )
