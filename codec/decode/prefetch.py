"""Run an iterator ahead in a thread, so that decoding overlaps with what consumes it."""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class _End:
    """Marks the end of the iterator, with the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetch(Generic[Item]):
    """Iterates over `items` in a thread, up to `depth` items ahead. An error is raised at its place in the sequence.

    `close` stops the thread and waits for it. It runs at the end of the iteration and may be called at any time. If the
    object is dropped without `close`, the thread ends by itself.
    """

    def __init__(self, items: Iterator[Item], depth: int) -> None:
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        # The thread holds no reference to this object, which would otherwise never be dropped.
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
    """Ask the thread to end, and empty the queue in case it waits for room."""
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
