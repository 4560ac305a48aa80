"""Run an iterator ahead in a thread of its own, with a bound, so that decoding and what follows overlap."""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class _End:
    """The iterator ended, by an error or not."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetch(Generic[Item]):
    """Iterates over `items` in a thread, at most `depth` ahead; an error arrives where it arose.

    `close` stops the thread and waits for it; it is called at the end of the iteration and may be called at any time.
    An object that is dropped without it lets its thread end by itself.
    """

    def __init__(self, items: Iterator[Item], depth: int) -> None:
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        # The thread must not know this object, or it would never be dropped.
        self._thread = threading.Thread(
            target=_run, args=(items, self._queue, self._stop), name="keymask-decode", daemon=True
        )
        self._thread.start()
        self._release = weakref.finalize(self, _stop, self._queue, self._stop)

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._stop.is_set():
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, _End):
            self.close()
            if item.error is not None:
                raise item.error
            raise StopIteration
        return item

    def close(self) -> None:
        """Stop the thread and wait until it has ended."""
        self._release()
        self._thread.join()


def _stop(items: queue.Queue[Any], stop: threading.Event) -> None:
    """Ask the thread to end; one that waits for room in the queue gets it."""
    stop.set()
    with contextlib.suppress(queue.Empty):
        while True:
            items.get_nowait()


def _run(items: Iterator[Item], out: queue.Queue[Item | _End], stop: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if stop.is_set():
                return
            out.put(item)
    except BaseException as raised:
        error = raised
    if not stop.is_set():
        out.put(_End(error))
