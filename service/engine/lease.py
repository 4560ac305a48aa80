"""Leases of jobs: a worker renews its own, and every supervisor takes over the jobs of workers that no longer do.

The database decides who has a job (`service.jobs.claims`); leases only decide when to try. No clock is trusted for
that: an observer takes a job over once it has itself seen the lease unchanged for a whole lease on its monotonic clock,
or for two intervals of renewal if the lease has also ended by the wall clock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType

from sqlalchemy.exc import SQLAlchemyError

from service.errors import LostJobError
from service.jobs.store import JobStore
from service.jobs.types import Claim, Job
from service.storage.change_watch import ChangeWatch

_log = logging.getLogger(__name__)

_RENEWALS = 3
"""Renewals per lease."""
_MAX_PAUSE_SECONDS = 1.0
"""Longest pause after a renewal that the database did not answer."""


class Lease:
    """Keeps a worker's claim on a job while the block runs, from a thread, so that slow frames do not lose it.

    Args:
        store: The job store.
        job: The claimed job.
        seconds: Length of the lease.
    """

    def __init__(self, store: JobStore, job: Job, seconds: float) -> None:
        self._store = store
        self._job = job
        self._seconds = seconds
        self._held_until = time.monotonic() + seconds
        self._lost = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keymask-lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def check(self) -> None:
        """Ask the database if the lease has run out unrenewed: the process was stopped, or the database was away.

        Raises:
            LostJobError: Another worker may have the job.
        """
        if not self._lost and time.monotonic() > self._held_until:
            self._renew()
        if self._lost:
            raise LostJobError(f"another worker may have job {self._job.id}")

    def _run(self) -> None:
        pause = interval = self._seconds / _RENEWALS
        while not self._lost and not self._stopping.wait(pause):
            pause = interval if self._renew() else min(interval, _MAX_PAUSE_SECONDS)

    def _renew(self) -> bool:
        """Renew the claim; return whether the database answered."""
        asked_at = time.monotonic()
        try:
            held = self._store.renew(self._job.id, self._job.fence, timedelta(seconds=self._seconds))
        except SQLAlchemyError as error:
            _log.warning("claim not renewed", extra={"job_id": self._job.id, "reason": str(error)[:200]})
            return False
        if held:
            self._held_until = asked_at + self._seconds
        else:
            self._lost = True
        return True


class LeaseWatch:
    """Finds the running jobs whose worker shows no sign of life, on whatever machine it runs.

    Args:
        claims: Returns the claims to observe.
        seconds: Length of the leases.
        clock: Returns monotonic seconds.
        now: Returns the time in UTC.
    """

    def __init__(
        self,
        claims: Callable[[], list[Claim]],
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._claims = claims
        self._seconds = seconds
        self._now = now
        # After a time without a look, for instance because the database was away, workers get time to renew.
        self._watch: ChangeWatch[str] = ChangeWatch(seconds / _RENEWALS, clock=clock)

    @property
    def poll_seconds(self) -> float:
        """Time between two calls of `expired`."""
        return min(2.0, self._seconds / _RENEWALS / 2)

    def expired(self) -> list[Claim]:
        """Return the claims that were not renewed in time."""
        claims = {claim.job_id: claim for claim in self._claims()}
        ages = self._watch.observe({claim.job_id: (claim.fence, claim.lease_until) for claim in claims.values()})
        return [claim for claim in claims.values() if self._has_expired(claim, ages[claim.job_id])]

    def _has_expired(self, claim: Claim, age: float) -> bool:
        if age >= self._seconds:
            return True
        ended = claim.lease_until is not None and claim.lease_until < self._now()
        return ended and age >= 2 * self._seconds / _RENEWALS
