"""Run independent pieces of work at the same time, with one thread per core.

Networks on a region of a picture consist of many small operations. When several threads share one operation, they spend
more time waiting for each other than working. With one thread per frame, no thread waits for another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier, get_native_id
from typing import TypeVar

import torch

_NICENESS = 5
"""Niceness added to threads whose work is needed later. A busy core gives them about a third of its time."""
_MAX_NICENESS = 19
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this number of threads in the calling thread."""
    own = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(own)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use only the calling thread, for steps of microseconds that cost less than waking another one.

    Also works as a decorator.
    """
    with threads(1):
        yield


class ThreadPools:
    """Runs functions side by side on a CPU, and one after another on a single core or another device.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._count = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None
        self._beside: ThreadPoolExecutor | None = None

    @property
    def can_work_beside(self) -> bool:
        """Whether there is a core for `beside`."""
        return self._count > 1

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
        """Apply a function to items, without gradients, and return the results in order.

        A single item is processed by the calling thread, which leaves half of the cores to `beside`. If the function
        raises an exception, so does `map`.
        """
        work = list(items)
        if self._count == 1:
            return [function(item) for item in work]
        if len(work) < 2:
            with threads(self._count - self._count // 2):
                return [function(item) for item in work]
        self._pool = self._pool or _pool("keymask-frame", self._count, 1)
        return list(self._pool.map(lambda item: _without_gradients(function, item), work))

    def beside(self, function: Callable[[_In], _Out], item: _In) -> Future[_Out]:
        """Start work whose result is needed later, without gradients, at low priority on half of the cores.

        Calls run one after another.
        """
        self._beside = self._beside or _pool("keymask-ahead", 1, max(1, self._count // 2), _NICENESS)
        return self._beside.submit(_without_gradients, function, item)


def _without_gradients(function: Callable[[_In], _Out], item: _In) -> _Out:
    with torch.inference_mode():  # a mode of each thread
        return function(item)


def _pool(name: str, count: int, cores: int, niceness: int = 0) -> ThreadPoolExecutor:
    """Make a pool of `count` threads, each of which lets torch use `cores` threads."""
    pool = ThreadPoolExecutor(count, name)
    all_started, own = Barrier(count), torch.get_num_threads()

    def prepare(_: int) -> None:
        torch.get_num_threads()  # otherwise the first operation here resets the number
        torch.set_num_threads(cores)
        if niceness and sys.platform == "linux":  # other systems would change the priority of the process
            with suppress(OSError):  # where it is forbidden, do without
                nice = os.getpriority(os.PRIO_PROCESS, get_native_id())
                os.setpriority(os.PRIO_PROCESS, get_native_id(), min(nice + niceness, _MAX_NICENESS))
        all_started.wait()

    list(pool.map(prepare, range(count)))
    # The latest call also sets the number that future threads start with.
    torch.set_num_threads(own)
    return pool
