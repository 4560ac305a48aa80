"""Follows jobs: one look at a job every moment, however many clients wait for news of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from anyio.to_thread import run_sync

from service.errors import JobNotFoundError
from service.frames import read_lines
from service.jobs.store import JobStore
from service.jobs.types import Job
from service.problems import ProblemError
from service.storage import Storage
from service.threads import brief_calls

PERIOD_SECONDS = 0.1
_READS_KEPT = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class News:
    """A job at one moment.

    Attributes:
        job: The job; None if it is gone.
        size: Bytes of its file of masks; 0 before the first look.
    """

    job: Job | None
    size: int

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self.job is None or self.job.status.finished


class Watch:
    """What followers of one job share: the news, and what they read, since most of them are at the same place."""

    def __init__(self, news: News) -> None:
        self.news = news
        self.followers = 0
        self._changed = asyncio.Event()
        self._reads: dict[tuple[int, int], asyncio.Task[tuple[list[bytes], int]]] = {}

    def publish(self, news: News) -> None:
        """Wake who waits, if anything changed; nothing follows what is final, such as a look that was under way."""
        if news != self.news and not self.news.final:
            self.news = news
            self._changed.set()
            self._changed = asyncio.Event()

    async def after(self, news: News, seconds: float) -> News:
        """The first state that differs from `news`, or the same after so many seconds."""
        if self.news == news and not news.final:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)
        return self.news

    async def read(self, path: Path, offset: int) -> tuple[list[bytes], int]:
        """As `service.frames.read_lines`; followers at the same place read once, but again after a failure."""
        key = offset, self.news.size
        task = self._reads.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._reads[key] = asyncio.create_task(run_sync(read_lines, path, offset, limiter=brief_calls()))
            if len(self._reads) > _READS_KEPT:
                del self._reads[next(iter(self._reads))]
        return await asyncio.shield(task)


class Feed:
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
        self._watches: dict[str, Watch] = {}
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
    async def follow(self, job: Job) -> AsyncIterator[Watch]:
        """Watch a job while the block runs; once the feed is closing, the job counts as gone from the start."""
        self._loop = asyncio.get_running_loop()
        watch = self._watches.get(job.id)
        if watch is None:
            watch = self._watches[job.id] = Watch(News(None if self.closing else job, 0))
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

    def close_soon(self) -> None:
        """As `close`, from any thread or from a signal handler."""
        self.closing = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        """End all streams: every watch says that its job is gone."""
        self.closing = True
        for watch in self._watches.values():
            watch.publish(News(None, watch.news.size))

    async def _keep_looking(self, job_id: str, watch: Watch) -> None:
        while not watch.news.final and not self.closing:
            try:
                watch.publish(await run_sync(self._look, job_id, limiter=brief_calls()))
            except Exception:  # such as a database that is away for a moment: followers must not wait forever
                _log.exception("cannot look at a job", extra={"job_id": job_id})
            await asyncio.sleep(PERIOD_SECONDS)

    def _look(self, job_id: str) -> News:
        """Status before size: what a finished job's file holds then is all there will be."""
        try:
            job = self._store.get(job_id)
        except JobNotFoundError:
            return News(None, 0)
        try:
            return News(job, self._storage.job(job_id).frames.stat().st_size)
        except FileNotFoundError:
            return News(job, 0)
