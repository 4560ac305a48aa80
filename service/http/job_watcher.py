"""Watches jobs for their followers: one poll per job and period, however many clients follow it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from service.errors import JobNotFoundError, StorageUnavailableError
from service.http.streaming.fetched import in_files_thread
from service.jobs.store import JobStore
from service.jobs.types import Job
from service.problems import ProblemError
from service.runtime.threads import in_large_thread, in_thread
from service.storage.job_files import Storage
from service.storage.mask_log_view import LongLine, MaskLogView

PERIOD_SECONDS = 0.1
"""Time between two polls of a job, unless a change is announced earlier."""
SECONDS_PER_FOLLOWER = 0.001
"""Least time between two polls of a job, for each follower of any job. To send the changes to a follower takes about a
third of it, so that the event loop has time for other requests, however many follow and however fast frames come."""
_WOKEN_TOGETHER = 4
"""Followers that are woken at once. Another request waits for them each time it awaits something."""
_MAX_PAUSE_SECONDS = 5.0
"""Longest time between two polls that fail."""

Lines: TypeAlias = tuple[list[bytes | LongLine], int]
"""Lines of a mask log, and the offset after them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job at one moment.

    Attributes:
        job: The job; None if it was deleted or the service is shutting down.
        mask_bytes: Size of its mask log; 0 before the first poll.
    """

    job: Job | None
    mask_bytes: int

    @property
    def final(self) -> bool:
        """Whether no later snapshot will differ."""
        return self.job is None or self.job.status.finished


class JobWatch:
    """The latest snapshot of one job, shared by all its followers.

    Attributes:
        snapshot: The latest snapshot.
        followers: Number of followers.
        poll_now: Set when the job has changed, so that the next poll does not wait.
    """

    def __init__(self, snapshot: JobSnapshot) -> None:
        self.snapshot = snapshot
        self.followers = 0
        self.poll_now = asyncio.Event()
        self._waiting: dict[asyncio.Future[None], JobSnapshot] = {}
        self._waking: asyncio.Task[None] | None = None
        self._latest_read: tuple[tuple[MaskLogView, int, int], asyncio.Task[Lines]] | None = None

    async def read_lines(self, log: MaskLogView, offset: int) -> Lines:
        """Read lines as `MaskLogView.read_lines` does, or one long line; followers at the same place share one read."""
        place = log, offset, self.snapshot.mask_bytes
        if self._latest_read is None or self._latest_read[0] != place or _has_failed(self._latest_read[1]):
            self._latest_read = place, asyncio.create_task(_read_lines(log, offset))
        return await asyncio.shield(self._latest_read[1])  # a follower that leaves cancels no other's read

    def publish(self, snapshot: JobSnapshot) -> None:
        """Wake all followers if anything changed. A final snapshot stays, even if a poll ends after it."""
        if snapshot != self.snapshot and not self.snapshot.final:
            self.snapshot = snapshot
            if self._waking is None or self._waking.done():
                self._waking = asyncio.create_task(self._wake())

    async def next_after(self, seen: JobSnapshot, seconds: float) -> JobSnapshot:
        """Wait for a snapshot that differs from `seen`; return `seen` itself after `seconds` without one."""
        if self.snapshot == seen and not seen.final:
            woken = asyncio.get_running_loop().create_future()
            self._waiting[woken] = self.snapshot
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await woken
            finally:
                self._waiting.pop(woken, None)
        return self.snapshot

    async def _wake(self) -> None:
        """Wake all followers, a few at a time."""
        while behind := [follower for follower, seen in self._waiting.items() if seen is not self.snapshot]:
            group = behind[:_WOKEN_TOGETHER]
            for follower in group:
                del self._waiting[follower]
                if not follower.done():
                    follower.set_result(None)
            await asyncio.sleep(len(group) * SECONDS_PER_FOLLOWER)


async def _read_lines(log: MaskLogView, offset: int) -> Lines:
    lines, after = await in_thread(log.read_lines, offset)
    if not lines and after == offset and (long := await in_large_thread(log.read_long_line, offset)):
        return [long], long.end
    return list(lines), after


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class JobWatcher:
    """All watches of one event loop.

    Args:
        store: The jobs.
        storage: Their files.

    Attributes:
        followers: Number of followers of all jobs.
        closing: Whether the service is shutting down.
    """

    def __init__(self, store: JobStore, storage: Storage) -> None:
        self._store = store
        self._storage = storage
        self._watches: dict[str, JobWatch] = {}
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.followers = 0
        self.closing = False

    def check_open(self) -> None:
        """Refuse new work during shutdown.

        Raises:
            ProblemError: `not-ready`.
        """
        if self.closing:
            raise ProblemError("not-ready", "the service is shutting down")

    @asynccontextmanager
    async def follow(self, job: Job) -> AsyncIterator[JobWatch]:
        """Watch a job while the block runs. During shutdown the job counts as gone from the start."""
        self._loop = asyncio.get_running_loop()
        watch = self._watches.get(job.id)
        if watch is None:
            watch = self._watches[job.id] = JobWatch(JobSnapshot(None if self.closing else job, 0))
            self._polls[job.id] = asyncio.create_task(self._keep_polling(job.id, watch))
        self.followers += 1
        watch.followers += 1
        try:
            yield watch
        finally:
            self.followers -= 1
            watch.followers -= 1
            if not watch.followers and self._watches.get(job.id) is watch:
                del self._watches[job.id]
                self._polls.pop(job.id).cancel()

    def changed(self, job_id: str) -> None:
        """Poll a job at once because it has changed."""
        if watch := self._watches.get(job_id):
            watch.poll_now.set()

    def changed_soon(self, job_id: str) -> None:
        """Do as `changed`; safe to call from any thread."""
        with suppress(RuntimeError):  # the loop has ended meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self.changed, job_id)

    def close(self) -> None:
        """End all streams: every watch reports its job as gone."""
        self.closing = True
        for watch in self._watches.values():
            watch.publish(JobSnapshot(None, watch.snapshot.mask_bytes))

    def close_soon(self) -> None:
        """Do as `close`; safe to call from any thread and from a signal handler."""
        self.closing = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    async def _keep_polling(self, job_id: str, watch: JobWatch) -> None:
        pause = PERIOD_SECONDS
        while not watch.snapshot.final and not self.closing:
            watch.poll_now.clear()
            try:
                watch.publish(await in_files_thread(self._storage.job(job_id), self._poll, job_id))
                pause = PERIOD_SECONDS
            except Exception as error:  # for example a database that is away for a moment: the next poll may succeed
                pause = min(2 * pause, _MAX_PAUSE_SECONDS) * random.uniform(0.75, 1.0)
                defect = None if isinstance(error, (SQLAlchemyError, StorageUnavailableError)) else error
                extra = {"job_id": job_id, "reason": f"{type(error).__name__}: {error}"[:200]}
                _log.warning("cannot poll a job", extra=extra, exc_info=defect)
            await asyncio.sleep(self.followers * SECONDS_PER_FOLLOWER)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await watch.poll_now.wait()

    def _poll(self, job_id: str) -> JobSnapshot:
        """Read the job before the size: the mask log of a finished job does not grow any more."""
        try:
            job = self._store.get(job_id)
        except JobNotFoundError:
            return JobSnapshot(None, 0)
        return JobSnapshot(job, MaskLogView(self._storage.job(job_id), job.segments).size())
