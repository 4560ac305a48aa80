"""Threads for calls that block briefly: the database, small pieces of files.

There are few of them, because many threads make each other and the event loop wait for the interpreter lock. They are
separate from the threads of long calls (uploads, whole files, sandboxes), which must not delay responses.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

THREADS = 4
"""Concurrent brief calls per event loop."""
LARGE_THREADS = 2
"""Concurrent calls per event loop that hold a large piece of a file in memory."""
WAITING_THREADS = 16
"""Concurrent calls per event loop that wait for other servers; further ones wait for these."""
_limiter: RunVar[CapacityLimiter] = RunVar("keymask_threads")
_large_limiter: RunVar[CapacityLimiter] = RunVar("keymask_large_threads")
_waiting_limiter: RunVar[CapacityLimiter] = RunVar("keymask_waiting_threads")


def brief_calls() -> CapacityLimiter:
    """Return this event loop's limiter for `anyio.to_thread.run_sync`."""
    return _get_limiter(_limiter, THREADS)


def _get_limiter(variable: RunVar[CapacityLimiter], threads: int) -> CapacityLimiter:
    try:
        return variable.get()
    except LookupError:
        limiter = CapacityLimiter(threads)
        variable.set(limiter)
        return limiter


Args = ParamSpec("Args")
Result = TypeVar("Result")


async def in_thread(function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """Run a function that blocks briefly (database, small pieces of files) in a thread."""
    call: Callable[[], Any] = partial(function, *args, **kwargs)
    result: Result = await anyio.to_thread.run_sync(call, limiter=brief_calls())
    return result


async def in_large_thread(function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """Run a function that holds a large piece of a file in memory in one of few threads, which delay no brief call."""
    call: Callable[[], Any] = partial(function, *args, **kwargs)
    result: Result = await anyio.to_thread.run_sync(call, limiter=_get_limiter(_large_limiter, LARGE_THREADS))
    return result


async def in_waiting_thread(function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """Run a function that waits for another server for long. Who cancels it does not wait; it must end by itself."""
    call: Callable[[], Any] = partial(function, *args, **kwargs)
    result: Result = await anyio.to_thread.run_sync(
        call, limiter=_get_limiter(_waiting_limiter, WAITING_THREADS), abandon_on_cancel=True
    )
    return result
