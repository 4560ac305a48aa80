"""Pictures of frames in memory, and the work on those that are not there yet, which requests share."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class SharedWork:
    """Work that one or more requests wait for.

    Attributes:
        requests: Number of requests that wait.
        begun: Whether a process works on it; it then continues when the requests have gone.
    """

    requests: int = 0
    begun: bool = False
    task: asyncio.Task[Any] = field(init=False)


class FrameCache:
    """Keeps bytes up to a total size, those that were asked for last.

    Args:
        capacity: Largest number of bytes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._size = 0
        self._running: dict[Hashable, SharedWork] = {}

    def get(self, key: Hashable) -> bytes | None:
        """Return what is kept under a key."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: Hashable, content: bytes) -> None:
        """Keep bytes, and drop others for them if need be."""
        self._size += len(content) - len(self._kept.pop(key, b""))
        self._kept[key] = content
        while self._size > self._capacity:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped)

    async def share(self, key: Hashable, work: Callable[[SharedWork], Awaitable[Result]]) -> Result:
        """Return the result of a piece of work, which simultaneous calls with the same key share.

        It ends when the last of them is cancelled, unless it has begun.
        """
        shared = self._running.get(key)
        if shared is None:
            shared = self._running[key] = SharedWork()
            shared.task = asyncio.create_task(_run(work, shared))
            shared.task.add_done_callback(lambda task: self._forget(key, task))
        shared.requests += 1
        try:
            return cast("Result", await asyncio.shield(shared.task))
        finally:
            shared.requests -= 1
            if not shared.requests and not shared.begun:
                self._running.pop(key, None)  # at once, so that the next request starts anew
                shared.task.cancel()

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        running = self._running.get(key)
        if running is not None and running.task is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # reading it keeps asyncio from logging it as never retrieved


async def _run(work: Callable[[SharedWork], Awaitable[Result]], shared: SharedWork) -> Result:
    return await work(shared)
