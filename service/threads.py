"""Threads for calls that block for a moment: the database, small pieces of files.

They are few and of their own. Many that run at once make each other, and the event loop above all, wait for Python's
one lock; and what takes long (uploads, whole files, sandboxes) must not keep answers waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

THREADS = 4
"""Calls at a time, in each event loop."""
_limiter: RunVar[CapacityLimiter] = RunVar("keymask_threads")


def brief_calls() -> CapacityLimiter:
    """The limiter of this event loop, for `anyio.to_thread.run_sync`."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(THREADS)
        _limiter.set(limiter)
        return limiter


Args = ParamSpec("Args")


Result = TypeVar("Result")


async def in_thread(function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """Call what blocks for a moment (database, small pieces of files) in a thread; few run at a time."""
    call: Callable[[], Any] = partial(function, *args, **kwargs)
    result: Result = await anyio.to_thread.run_sync(call, limiter=brief_calls())
    return result
