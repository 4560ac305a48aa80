"""Independent pieces of work at once: a thread for each core, and each thread alone on its core.

Networks on a region of a picture are many small operations. Threads within each of them wait for each other more than
they work; a frame a thread waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

import torch

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use no other core: for steps of microseconds, which cost less than waking one, the more if it is busy.

    It also serves as a decorator.
    """
    own = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(own)


class Workers:
    """Runs functions on the CPU side by side, or one after another where that is all there is.

    Args:
        device: Where the work is done; only the CPU gains by threads.
    """

    def __init__(self, device: torch.device) -> None:
        self._count = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
        """Results in the order of the items, without gradients; an error of any is raised."""
        work = list(items)
        if self._count == 1 or len(work) < 2:
            return [function(item) for item in work]

        def detached(item: _In) -> _Out:
            with torch.inference_mode():  # each thread has a mode of its own
                return function(item)

        return list(self._started().map(detached, work))

    def _started(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._count, "keymask-frame")
            all_there, own = Barrier(self._count), torch.get_num_threads()

            def stay_alone(_: int) -> None:
                torch.get_num_threads()  # or the first operation here would look for the number once more
                torch.set_num_threads(1)
                all_there.wait()

            list(self._pool.map(stay_alone, range(self._count)))
            # Torch also takes what was said last for the number that threads to come begin with.
            torch.set_num_threads(own)
        return self._pool
