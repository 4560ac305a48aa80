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
"""Concurrent calls per event loop."""
_limiter: RunVar[CapacityLimiter] = RunVar("keymask_threads")


def brief_calls() -> CapacityLimiter:
    """Return this event loop's limiter for `anyio.to_thread.run_sync`."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _limiter.set(limiter)
        return limiter


Args = ParamSpec("Args")
Result = TypeVar("Result")


async def in_thread(function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """Run a function that blocks briefly (database, small pieces of files) in a thread."""
    call: Callable[[], Any] = partial(function, *args, **kwargs)
    result: Result = await anyio.to_thread.run_sync(call, limiter=brief_calls())
    return result
