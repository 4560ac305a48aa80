"""What connects a running job with the store and the engine: progress goes out, a reason to stop comes in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from sqlalchemy.exc import SQLAlchemyError

from service.engine.messages import Command, Heartbeat
from service.jobs.store import JobStore
from service.jobs.types import Job, JobProgress
from vos.types import Stats

_log = logging.getLogger(__name__)


class StopJobError(Exception):
    """Base of the reasons to stop in mid-job."""


class CanceledError(StopJobError):
    """A cancel was asked for, or the job is no longer this worker's."""


class DrainedError(StopJobError):
    """The worker is to end."""


class Inbox:
    """The worker's end of the pipe to its engine.

    Attributes:
        draining: Whether the worker is to end.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.draining = False

    def wait(self, seconds: float) -> None:
        """Wait for an order, at most so long; an engine that is gone means drain."""
        try:
            while not self.draining and self._connection.poll(seconds):
                self.draining = self._connection.recv() is Command.DRAIN
                seconds = 0.0
        except (EOFError, OSError):
            self.draining = True

    def send(self, message: object) -> None:
        """Tell the engine something."""
        try:
            self._connection.send(message)
        except OSError:
            self.draining = True


class Observer:
    """Called by a task after every step; passes progress on, not too often, and stops the task where that is due.

    Args:
        job: The job.
        worker: The worker's name.
        store: Where progress goes.
        inbox: Where beats go, and orders come from.
        seconds: Least time between two looks at the store.
    """

    def __init__(self, job: Job, worker: str, store: JobStore, inbox: Inbox, seconds: float) -> None:
        self._job = job
        self._worker = worker
        self._store = store
        self._inbox = inbox
        self._seconds = seconds
        self._look_at = 0.0
        self._latest = JobProgress()
        self._beaten = Stats({}, {})

    def __call__(self, progress: JobProgress, stats: Stats | None) -> None:
        """Take note of a step.

        Raises:
            CanceledError, DrainedError: The job is to stop here.
        """
        first = progress.done > 0 and self._latest.done == 0
        if not first and progress.stage == self._latest.stage and time.monotonic() < self._look_at:
            return
        self._latest = progress
        self._look_at = time.monotonic() + self._seconds
        self.beat(stats)
        self._inbox.wait(0)
        if self._inbox.draining:
            raise DrainedError
        if not self._may_go_on(progress):
            raise CanceledError

    def beat(self, stats: Stats | None) -> None:
        """Tell the engine that work goes on, and what was done since the last time."""
        if stats is None:
            self._inbox.send(Heartbeat(self._job.id))
            return
        frames = {str(s): n - self._beaten.frames.get(s, 0) for s, n in stats.frames.items()}
        seconds = {s: t - self._beaten.seconds.get(s, 0.0) for s, t in stats.seconds.items()}
        self._beaten = stats
        self._inbox.send(Heartbeat(self._job.id, frames, seconds))

    def _may_go_on(self, progress: JobProgress) -> bool:
        try:
            return self._store.set_progress(self._job.id, self._worker, progress)
        except SQLAlchemyError as error:
            # The masks matter more than the news of them; the next look may succeed.
            _log.warning("progress not stored", extra={"job_id": self._job.id, "reason": str(error)[:200]})
            return True


def persist(change: Callable[[], object], inbox: Inbox, job_id: str) -> None:
    """Make a change in the store, trying again while the database cannot take it (a full disk, a restart)."""
    pause = 0.1
    while True:
        try:
            change()
        except SQLAlchemyError as error:
            if inbox.draining:
                raise
            _log.warning("change not stored, trying again", extra={"job_id": job_id, "reason": str(error)[:200]})
            inbox.send(Heartbeat(job_id))
            inbox.wait(pause)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        else:
            return
