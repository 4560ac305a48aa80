"""Jobs in a database: SQLite with a write-ahead log, or PostgreSQL, by URL.

Every change is one statement that also checks what it starts from, so any number of processes may use one database.
Methods block; call them from a thread in asynchronous code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Update,
    and_,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from service.errors import (
    IdempotencyConflictError,
    JobNotFoundError,
    LostJobError,
    QueueFullError,
    TooManyJobsError,
)
from service.jobs.database import migrate as migrate_schema
from service.jobs.database import open_database
from service.jobs.schema import job_of, jobs, row_of, to_columns
from service.jobs.types import Job, JobError, JobProgress, JobStatus, check_transition

MAX_DEATHS = 2
"""A job is given up when this many workers died while they ran it."""
MAX_ATTEMPTS = 20
"""A job is given up when it was started this often, whatever ended it."""
_MOST_PARAMETERS = 1000
"""Values in one statement; databases have their limits."""
UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)

_here = jobs.c.delete_requested.is_(False)
_running = jobs.c.status == JobStatus.RUNNING
_queued = jobs.c.status == JobStatus.QUEUED


class Release(StrEnum):
    """Why a worker no longer runs its job."""

    DIED = "died"
    """It died while the service lived: perhaps because of the job."""
    LOST = "lost"
    """It ended with the whole service."""
    RETURNED = "returned"
    """It was asked to stop and gave the job back."""


@dataclass(frozen=True, slots=True)
class Limits:
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


NO_LIMITS = Limits()


class JobStore:
    """All jobs. A job whose deletion was requested is invisible to `get`, `find`, `page` and `counts`.

    Args:
        url: SQLAlchemy URL, such as "sqlite:////var/lib/keymask/jobs.db", "sqlite://" (in memory) or
            "postgresql+psycopg://...".
        retention: How long a finished job and its files are kept.
        migrate: Whether to bring the schema up to date first; workers leave that to the service.

    Raises:
        UsageError: The URL is not one of these.
    """

    def __init__(self, url: str, *, retention: timedelta = timedelta(days=1), migrate: bool = True) -> None:
        self.url = url
        self.retention = retention
        self._engine = open_database(url)
        if migrate:
            migrate_schema(self._engine)

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    def create(self, job: Job, limits: Limits = NO_LIMITS) -> tuple[Job, bool]:
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
                # The insertion comes first: in SQLite it also makes other writers wait until the count is done.
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
        found = self._first(select(jobs).where(jobs.c.id == job_id, _here, *_of_key(api_key_id)))
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
        wanted = select(jobs).where(_here, *_of_key(api_key_id))
        if cursor is not None:
            wanted = wanted.where(jobs.c.id < cursor)
        if status is not None:
            wanted = wanted.where(jobs.c.status == status)
        found = self._all(wanted.order_by(jobs.c.id.desc()).limit(limit + 1))
        return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

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

    def set_progress(self, job_id: str, worker: str, progress: JobProgress) -> bool:
        """Note how far a running job is; returns whether the worker is to go on (it has the job and no cancel came)."""
        change = update(jobs).where(jobs.c.id == job_id, _running, jobs.c.worker == worker)
        moved = self._change(change.values(to_columns(progress=progress)))
        return bool(moved) and not moved[0].cancel_requested

    def request_cancel(self, job_id: str) -> Job:
        """A waiting job is canceled at once, a running one by its worker within a second; a finished one stays.

        Raises:
            JobNotFoundError: There is none.
        """
        mine = and_(jobs.c.id == job_id, _here)
        canceled = to_columns(status=JobStatus.CANCELED, cancel_requested=True, **self._ending())
        # Between the two statements a worker may claim the job or give it back, hence the second round.
        for _ in range(2):
            moved = self._change(update(jobs).where(mine, _queued).values(canceled)) or self._change(
                update(jobs).where(mine, _running).values(cancel_requested=True)
            )
            if moved:
                return moved[0]
        return self.get(job_id)

    def is_cancel_requested(self, job_id: str) -> bool:
        """Whether the job (visible or not) is to stop."""
        with self._engine.connect() as connection:
            return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)))

    def request_delete(self, job_id: str) -> Job:
        """Make a job invisible and cancel it; `service.jobs.housekeeper` removes its files and then its row.

        Its Idempotency-Key is free again.

        Raises:
            JobNotFoundError: There is none.
        """
        job = self.request_cancel(job_id)
        change = update(jobs).where(jobs.c.id == job_id, _here)
        self._change(change.values(delete_requested=True, cancel_requested=True, idempotency_key=None))
        return job

    def claim_next(self, worker: str) -> Job | None:
        """Give the oldest waiting job to a worker: it is running then. None if nothing waits."""
        oldest = select(jobs.c.id).where(_queued, _here).order_by(jobs.c.id).limit(1).with_for_update(skip_locked=True)
        claimed = self._change(
            update(jobs)
            .where(jobs.c.id == oldest.scalar_subquery(), _queued)
            .values(
                status=JobStatus.RUNNING,
                worker=worker,
                started_at=func.coalesce(jobs.c.started_at, datetime.now(UTC)),
                attempts=jobs.c.attempts + 1,
            )
        )
        return claimed[0] if claimed else None

    def release(self, worker: str, why: Release) -> list[Job]:
        """Take what a worker runs from it: queue it again, or cancel or fail it where that is due.

        Only a death counts against the job; one that was given back does not even count as an attempt.
        """
        mine = and_(_running, jobs.c.worker == worker)
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
        return [job for change in changes for job in self._change(change)]

    def requeue_orphans(self, is_alive: Callable[[str], bool]) -> list[Job]:
        """Queue every running job again whose worker is no longer alive, as after a restart of the service."""
        with self._engine.connect() as connection:
            workers = list(connection.scalars(select(jobs.c.worker).where(_running).distinct()))
        return [job for worker in workers if not is_alive(worker) for job in self.release(worker, Release.LOST)]

    def counts(self) -> dict[JobStatus, int]:
        """Status -> number of jobs, 0 included."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(jobs.c.status, func.count()).where(_here).group_by(jobs.c.status))
            found = {status: count for status, count in rows}  # noqa: C416 - rows are no plain tuples
        return {status: found.get(status, 0) for status in JobStatus}

    def expired(self, now: datetime) -> list[Job]:
        """Finished jobs whose `expires_at` is not after `now`."""
        return self._all(select(jobs).where(_here, jobs.c.expires_at <= now))

    def doomed(self) -> list[str]:
        """Ids of jobs that are to be deleted and do not run (any more)."""
        gone = and_(jobs.c.delete_requested.is_(True), jobs.c.status.not_in(UNFINISHED))
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

    def ping(self) -> None:
        """Raise unless the database answers (for `/health/ready`)."""
        with self._engine.connect() as connection:
            connection.execute(select(literal_column("1")))

    def _ending(self) -> dict[str, Any]:
        now = datetime.now(UTC)
        return {"finished_at": now, "expires_at": now + self.retention}

    def _same(self, job: Job) -> Job | None:
        """The earlier job with the Idempotency-Key of this one."""
        earlier = self.find(job.api_key_id, job.idempotency_key or "")
        if earlier and earlier.payload_sha256 != job.payload_sha256:
            raise IdempotencyConflictError(
                f"the Idempotency-Key {job.idempotency_key!r} was used for another request; choose a new one"
            )
        return earlier

    def _first(self, wanted: Select[Any]) -> Job | None:
        return next(iter(self._all(wanted)), None)

    def _all(self, wanted: Select[Any]) -> list[Job]:
        with self._engine.connect() as connection:
            return [job_of(row) for row in connection.execute(wanted)]

    def _change(self, change: Update) -> list[Job]:
        with self._engine.begin() as connection:
            return [job_of(row) for row in connection.execute(change.returning(*jobs.c))]


def _of_key(api_key_id: str | None) -> list[ColumnElement[bool]]:
    return [] if api_key_id is None else [jobs.c.api_key_id == api_key_id]


def _check_limits(connection: Connection, job: Job, limits: Limits) -> None:
    """Refuse the job that was just inserted if it is one too many."""

    def count(*conditions: ColumnElement[bool]) -> int:
        return connection.scalar(select(func.count()).select_from(jobs).where(*conditions)) or 0

    if limits.queued is not None and count(_queued) > limits.queued:
        raise QueueFullError(f"{limits.queued} jobs are waiting, as many as are allowed; try again later")
    mine = (jobs.c.api_key_id == (job.api_key_id or ""), jobs.c.status.in_(UNFINISHED))
    if limits.unfinished_per_key is not None and count(*mine) > limits.unfinished_per_key:
        raise TooManyJobsError(
            f"{limits.unfinished_per_key} of your jobs are unfinished, as many as are allowed; try again later"
        )
