"""Connects a running job with the job store and the supervisor: progress goes out, reasons to stop come in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from service.engine.lease import Lease
from service.engine.messages import Command, Heartbeat
from service.jobs.store import JobStore
from service.jobs.types import Job, JobProgress, LogSegment
from vos.types import Stats

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class CanceledError(Exception):
    """The job was canceled."""


class DrainedError(Exception):
    """The worker has to exit."""


class Inbox:
    """The worker's end of the pipe to the supervisor.

    Attributes:
        draining: Whether the worker has to exit.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.draining = False

    def wait(self, seconds: float) -> None:
        """Wait for a command, but not longer than `seconds`. If the supervisor is gone, the worker drains."""
        try:
            while not self.draining and self._connection.poll(seconds):
                self.draining = self._connection.recv() is Command.DRAIN
                seconds = 0.0
        except (EOFError, OSError):
            self.draining = True

    def send(self, message: object) -> None:
        """Send a message to the supervisor."""
        try:
            self._connection.send(message)
        except OSError:
            self.draining = True


class Observer:
    """Is called after every step of a job. Reports progress at intervals and stops the job when asked to.

    Args:
        job: The job.
        store: Job store that receives the progress.
        inbox: Pipe to the supervisor.
        lease: The lease of the job.
        seconds: Shortest time between two reports.
    """

    def __init__(self, job: Job, store: JobStore, inbox: Inbox, lease: Lease, seconds: float) -> None:
        self._job = job
        self._store = store
        self._inbox = inbox
        self._lease = lease
        self._seconds = seconds
        self._report_at = 0.0
        self._latest = JobProgress()
        self._sent = Stats({}, {})

    def __call__(self, progress: JobProgress, stats: Stats | None) -> None:
        """Report a step, if it is the first mask, a new stage or due.

        Raises:
            CanceledError, DrainedError: The job has to stop.
            LostJobError: Another worker may have the job.
        """
        first = progress.done > 0 and self._latest.done == 0
        if not first and progress.stage == self._latest.stage and time.monotonic() < self._report_at:
            return
        self._latest = progress
        self._report_at = time.monotonic() + self._seconds
        self.send_heartbeat(stats)
        self._inbox.wait(0)
        if self._inbox.draining:
            raise DrainedError
        if not self._store_progress(progress):
            raise CanceledError

    def check_claim(self) -> None:
        """Check before a file is written that the job was not lost while this process was stopped.

        Raises:
            LostJobError: Another worker may have the job.
        """
        self._lease.check()

    def set_segments(self, segments: Sequence[LogSegment]) -> None:
        """Decide what counts of the job's mask log.

        Raises:
            LostJobError: Another worker has the job.
        """
        retry_change(
            partial(self._store.set_segments, self._job.id, self._job.fence, segments), self._inbox, self._job.id
        )

    def send_heartbeat(self, stats: Stats | None) -> None:
        """Tell the supervisor that the job makes progress, and what was done since the last heartbeat."""
        if stats is None:
            self._inbox.send(Heartbeat(self._job.id))
            return
        frames = {str(s): n - self._sent.frames.get(s, 0) for s, n in stats.frames.items()}
        seconds = {s: t - self._sent.seconds.get(s, 0.0) for s, t in stats.seconds.items()}
        self._sent = stats
        self._inbox.send(Heartbeat(self._job.id, frames, seconds))

    def _store_progress(self, progress: JobProgress) -> bool:
        """Store the progress and return whether the job may continue."""
        self._lease.check()
        try:
            return self._store.set_progress(self._job.id, self._job.fence, progress)
        except SQLAlchemyError as error:
            # The masks matter more than their progress; the next report may succeed.
            _log.warning("progress not stored", extra={"job_id": self._job.id, "reason": str(error)[:200]})
            return True


def retry_change(change: Callable[[], Result], inbox: Inbox, job_id: str) -> Result:
    """Make a change in the job store; retry it while the database fails (a full disk, a restart)."""
    pause = 0.1
    while True:
        try:
            return change()
        except SQLAlchemyError as error:
            if inbox.draining:
                raise
            _log.warning("change not stored, retrying", extra={"job_id": job_id, "reason": str(error)[:200]})
            inbox.send(Heartbeat(job_id))
            inbox.wait(pause)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
