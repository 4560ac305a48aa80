"""What the followers of one job share: its news, and what they read of its masks."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from anyio.to_thread import run_sync

from service.jobs.types import Job
from service.storage.mask_log import read_lines
from service.threads import brief_calls

_READS_KEPT = 8
_WOKEN_AT_ONCE = 8

Waiting: TypeAlias = dict["asyncio.Future[None]", None]
"""An ordered set."""


@dataclass(frozen=True, slots=True)
class JobSnapshot:
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


class JobWatch:
    """What followers of one job share: the news, and what they read, since most of them are at the same place.

    Attributes:
        news: The latest.
        looked_at: When the look began that gave them, in the loop's seconds.
        followers: How many there are.
        hurry: Set when the job has changed: the next look is not to be waited for.
    """

    def __init__(self, news: JobSnapshot) -> None:
        self.news = news
        self.looked_at = -math.inf
        self.followers = 0
        self.hurry = asyncio.Event()
        self._outdated_at = -math.inf
        self._waiting: Waiting = {}
        self._expecting: Waiting = {}
        self._reads: dict[tuple[int, int], asyncio.Task[tuple[list[bytes], int]]] = {}

    def publish(self, news: JobSnapshot) -> None:
        """Wake who waits, if anything changed; nothing follows what is final, such as a look that was under way."""
        if news != self.news and not self.news.final:
            self.news = news
            _wake(_taken(self._waiting))

    async def after(self, news: JobSnapshot, seconds: float) -> JobSnapshot:
        """The first state that differs from `news`, or the same after so many seconds."""
        if self.news == news and not news.final:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await _join(self._waiting)
        return self.news

    def outdate(self) -> None:
        """What looks say that have begun before now is no longer the truth."""
        self.looked_at, self._outdated_at = -math.inf, asyncio.get_running_loop().time()

    def looked(self, began: float) -> None:
        """A look has ended, which began then; if it failed, at `-math.inf`."""
        if began >= self._outdated_at:
            self.looked_at = began
        _wake(_taken(self._expecting))

    async def next_look(self) -> None:
        """Until a look ends, or no more looks are made."""
        await _join(self._expecting)

    async def read(self, path: Path, offset: int) -> tuple[list[bytes], int]:
        """As `mask_log.read_lines`; followers at the same place read once, but again after a failure."""
        key = offset, self.news.size
        task = self._reads.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._reads[key] = asyncio.create_task(run_sync(read_lines, path, offset, limiter=brief_calls()))
            if len(self._reads) > _READS_KEPT:
                del self._reads[next(iter(self._reads))]
        return task.result() if task.done() else await asyncio.shield(task)


async def _join(waiting: Waiting) -> None:
    """Wait with others, first come, first woken."""
    waiter = asyncio.get_running_loop().create_future()
    waiting[waiter] = None
    try:
        await waiter
    finally:
        waiting.pop(waiter, None)


def _taken(waiting: Waiting) -> deque[asyncio.Future[None]]:
    """All who wait; nobody does then."""
    taken = deque(waiting)
    waiting.clear()
    return taken


def _wake(waiters: deque[asyncio.Future[None]]) -> None:
    """Wake some, and the others after the loop has looked at its sockets: no answer waits for all followers."""
    for _ in range(min(_WOKEN_AT_ONCE, len(waiters))):
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)
    if waiters:
        asyncio.get_running_loop().call_soon(_wake, waiters)
