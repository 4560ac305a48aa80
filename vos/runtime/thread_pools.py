"""Independent pieces of work at once: a thread for each core, and each thread alone on its core.

Networks on a region of a picture are many small operations. Threads within each of them wait for each other more than
they work; a frame a thread waits for nothing.
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

_LATER = 5
"""By how much nicer work is that is needed later: a third of the time where the core is wanted, so it comes even so."""
_NICEST = 19
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many cores, as far as this thread is concerned."""
    own = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(own)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use no other core: for steps of microseconds, which cost less than waking one, the more if it is busy.

    It also serves as a decorator.
    """
    with threads(1):
        yield


class ThreadPools:
    """Runs functions on the CPU side by side, or one after another where that is all there is.

    Args:
        device: Where the work is done; only the CPU gains by threads.
    """

    def __init__(self, device: torch.device) -> None:
        self._count = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None
        self._beside: ThreadPoolExecutor | None = None

    @property
    def can_work_beside(self) -> bool:
        """Whether there is a core for work beside the caller's."""
        return self._count > 1

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
        """Results in the order of the items, without gradients; an error of any is raised.

        A single item is worked on by this thread, which leaves half of the cores to what runs beside.
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
        """Begin something that is needed later, without gradients, on half of the cores; one piece after the other.

        What is needed now goes first where cores are few.
        """
        self._beside = self._beside or _pool("keymask-ahead", 1, max(1, self._count // 2), _LATER)
        return self._beside.submit(_without_gradients, function, item)


def _without_gradients(function: Callable[[_In], _Out], item: _In) -> _Out:
    with torch.inference_mode():  # each thread has a mode of its own
        return function(item)


def _pool(name: str, count: int, cores: int, niceness: int = 0) -> ThreadPoolExecutor:
    """Threads, each of which lets torch use so many cores; others may have priority."""
    pool = ThreadPoolExecutor(count, name)
    all_there, own = Barrier(count), torch.get_num_threads()

    def prepare(_: int) -> None:
        torch.get_num_threads()  # or the first operation here would look for the number once more
        torch.set_num_threads(cores)
        if niceness and sys.platform == "linux":  # elsewhere the whole process would have less priority
            with suppress(OSError):  # where that is forbidden, it is no more than a courtesy
                nice = os.getpriority(os.PRIO_PROCESS, get_native_id())
                os.setpriority(os.PRIO_PROCESS, get_native_id(), min(nice + niceness, _NICEST))
        all_there.wait()

    list(pool.map(prepare, range(count)))
    # Torch also takes what was said last for the number that threads to come begin with.
    torch.set_num_threads(own)
    return pool
