"""Jobs in a database: SQLite with a write-ahead log, or PostgreSQL, by URL.

Every change is one statement that also checks what it starts from, so any number of processes may use one database.
Methods block; call them from a thread in asynchronous code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.jobs.types import Job, JobProgress, JobStatus

MAX_DEATHS = 2
"""A job is given up when this many workers died while they ran it."""
MAX_ATTEMPTS = 20
"""A job is given up when it was started this often, whatever ended it."""


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


class JobStore:
    """All jobs. A job whose deletion was requested is invisible to `get`, `find` and `list`.

    Args:
        url: SQLAlchemy URL, such as "sqlite:////var/lib/keymask/jobs.db", "sqlite://" (in memory) or
            "postgresql+psycopg://...".
        migrate: Whether to bring the schema up to date first; workers leave that to the service.
    """

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Give all connections back."""

    def create(self, job: Job, limits: Limits = Limits()) -> tuple[Job, bool]:
        """Add a queued job.

        Returns:
            The job and whether it is new; an earlier one if the same API key used the same Idempotency-Key for the same
            payload (then the caller removes the files it stored for the new one).

        Raises:
            IdempotencyConflictError: Same key, other payload.
            QueueFullError, TooManyJobsError: A limit is reached.
        """
        raise NotImplementedError

    def get(self, job_id: str, api_key_id: str | None = None) -> Job:
        """The job with this id (of this API key, if one is given).

        Raises:
            JobNotFoundError: There is none.
        """
        raise NotImplementedError

    def find(self, api_key_id: str | None, idempotency_key: str) -> Job | None:
        """The job that was created with this Idempotency-Key, to answer before an upload is read to its end."""
        raise NotImplementedError

    def list(
        self,
        limit: int = 20,
        cursor: str | None = None,
        status: JobStatus | None = None,
        api_key_id: str | None = None,
    ) -> Page:
        """Jobs, newest first. A cursor stays good when jobs come and go: it is the id of the last job of the page."""
        raise NotImplementedError

    def move(self, job_id: str, old: JobStatus, new: JobStatus, *, worker: str | None = None, **changes: Any) -> Job:
        """Change the status, if it still is `old` (and the job still belongs to `worker`, if one is given).

        Further attributes of `Job` are changed with it, by name.

        Returns:
            The changed job.

        Raises:
            TransitionError: `new` may not follow `old`.
            LostJobError: The job is not, or no longer, in that status (or with that worker), or is gone.
        """
        raise NotImplementedError

    def set_progress(self, job_id: str, worker: str, progress: JobProgress) -> bool:
        """Note how far a running job is; returns whether the worker is to go on (it has the job and no cancel came)."""
        raise NotImplementedError

    def request_cancel(self, job_id: str) -> Job:
        """A waiting job is canceled at once, a running one by its worker within a second; a finished one stays.

        Raises:
            JobNotFoundError: There is none.
        """
        raise NotImplementedError

    def request_delete(self, job_id: str) -> Job:
        """Make a job invisible and cancel it; `Housekeeper` removes its files and then its row.

        Raises:
            JobNotFoundError: There is none.
        """
        raise NotImplementedError

    def claim_next(self, worker: str) -> Job | None:
        """Give the oldest waiting job to a worker: it is running then. None if nothing waits."""
        raise NotImplementedError

    def release(self, worker: str, *, died: bool) -> list[Job]:
        """Take what a worker runs from it: queue it again, or cancel or fail it where that is due.

        Args:
            worker: Name of the worker.
            died: Whether the worker died in mid-job (counted against the job) or gave the job back.
        """
        raise NotImplementedError

    def requeue_orphans(self, alive: Collection[str]) -> list[Job]:
        """Queue every running job again whose worker is not among those alive, as after a restart of the service."""
        raise NotImplementedError

    def counts(self) -> dict[JobStatus, int]:
        """Status -> number of jobs, 0 included."""
        raise NotImplementedError

    def expired(self, now: datetime) -> list[Job]:
        """Finished jobs whose `expires_at` is not after `now`."""
        raise NotImplementedError

    def doomed(self) -> list[str]:
        """Ids of jobs that are to be deleted and do not run (any more)."""
        raise NotImplementedError

    def remove(self, job_id: str) -> None:
        """Remove the row, after the files."""
        raise NotImplementedError

    def known(self, job_ids: Iterable[str]) -> set[str]:
        """Those of the ids that have a row, visible or not."""
        raise NotImplementedError

    def ping(self) -> None:
        """Raise unless the database answers (for `/health/ready`)."""
        raise NotImplementedError
