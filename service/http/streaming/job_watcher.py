"""Follows jobs: one look at a job every moment, however many clients wait for news of it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from anyio.to_thread import run_sync

from service.errors import JobNotFoundError
from service.http.streaming.job_watch import JobSnapshot, JobWatch
from service.jobs.store import JobStore
from service.jobs.types import Job
from service.problems import ProblemError
from service.storage.job_files import Storage
from service.threads import brief_calls

PERIOD_SECONDS = 0.1
"""From one look at a job to the next, unless it is known to have changed before."""

_log = logging.getLogger(__name__)


class JobWatcher:
    """All watches of one event loop.

    Args:
        store: The jobs.
        storage: Their files.
        limit: Most followers at a time.
    """

    def __init__(self, store: JobStore, storage: Storage, limit: int) -> None:
        self._store = store
        self._storage = storage
        self._limit = limit
        self._watches: dict[str, JobWatch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.followers = 0
        self.closing = False

    def check_room(self) -> None:
        """Refuse a further follower where there are as many as allowed, or all are about to be sent away.

        Raises:
            ProblemError: That is so.
        """
        if self.closing:
            raise ProblemError("not-ready", "the service is shutting down")
        if self.followers >= self._limit:
            raise ProblemError("too-many-streams", f"{self._limit} streams are open; no more are allowed")

    @asynccontextmanager
    async def follow(self, job: Job) -> AsyncIterator[JobWatch]:
        """JobWatch a job while the block runs; once the feed is closing, the job counts as gone from the start."""
        self._loop = asyncio.get_running_loop()
        watch = self._watches.get(job.id)
        if watch is None:
            watch = self._watches[job.id] = JobWatch(JobSnapshot(None if self.closing else job, 0))
            self._tasks[job.id] = asyncio.create_task(self._keep_looking(job.id, watch))
        self.followers += 1
        watch.followers += 1
        try:
            yield watch
        finally:
            self.followers -= 1
            watch.followers -= 1
            if not watch.followers and self._watches.get(job.id) is watch:
                del self._watches[job.id]
                self._tasks.pop(job.id).cancel()

    async def latest(self, job_id: str) -> Job | None:
        """A job that is followed and goes on, no older than `PERIOD_SECONDS`; None: ask the store.

        The looks that are made for followers serve all who ask. Who asks does not see an older state after a newer
        one: looks come one after the other, and who has asked the store, or changed the job, outdates those before.
        """
        watch = self._watches.get(job_id)
        if watch is None or watch.news.final or self.closing:
            return None
        oldest = asyncio.get_running_loop().time() - PERIOD_SECONDS
        if watch.looked_at < oldest:
            await watch.next_look()
        return watch.news.job if watch.looked_at >= oldest and not watch.news.final else None

    def outdate(self, job_id: str) -> None:
        """The store was asked for a job: what older looks say must not be told any more."""
        if watch := self._watches.get(job_id):
            watch.outdate()

    def changed(self, job_id: str) -> None:
        """A job has changed: followers are to hear of it at once."""
        if watch := self._watches.get(job_id):
            watch.outdate()
            watch.hurry.set()

    def changed_soon(self, job_id: str) -> None:
        """As `changed`, from any thread."""
        with suppress(RuntimeError):  # the loop has ended meanwhile
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self.changed, job_id)

    def close_soon(self) -> None:
        """As `close`, from any thread or from a signal handler."""
        self.closing = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        """End all streams: every watch says that its job is gone."""
        self.closing = True
        for watch in self._watches.values():
            watch.publish(JobSnapshot(None, watch.news.size))

    async def _keep_looking(self, job_id: str, watch: JobWatch) -> None:
        try:
            while not watch.news.final and not self.closing:
                watch.hurry.clear()
                await self._look_once(job_id, watch)
                with suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD_SECONDS):
                        await watch.hurry.wait()
        finally:
            watch.looked(-math.inf)

    async def _look_once(self, job_id: str, watch: JobWatch) -> None:
        began = asyncio.get_running_loop().time()
        try:
            watch.publish(await run_sync(self._look, job_id, limiter=brief_calls()))
        except Exception:  # such as a database that is away for a moment: followers must not wait for ever
            _log.exception("cannot look at a job", extra={"job_id": job_id})
            began = -math.inf
        watch.looked(began)

    def _look(self, job_id: str) -> JobSnapshot:
        """Status before size: what a finished job's file holds then is all there will be."""
        try:
            job = self._store.get(job_id)
        except JobNotFoundError:
            return JobSnapshot(None, 0)
        try:
            return JobSnapshot(job, self._storage.job(job_id).mask_log.stat().st_size)
        except FileNotFoundError:
            return JobSnapshot(job, 0)
