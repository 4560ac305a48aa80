"""A service with a light engine in a separate process, which can be killed at one point of accepting a job.

Argument: "none", or the point at which the process gets SIGKILL: "adopt" (the upload is inspected, but not yet moved
to the job's folder), "create" (it is moved, but the job has no row) or "created" (the row is committed, but the engine
has not been woken).
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any

from service.jobs.store import JobStore
from service.storage.job_files import Storage

LIGHT_SERVICE = "benchmarks.serving.light_service"


def die(*_: Any, **__: Any) -> None:
    """Kill this process, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls the method and then kills the process."""

    def call(*args: Any, **kwargs: Any) -> None:
        method(*args, **kwargs)
        die()

    return call


if __name__ == "__main__":
    if sys.argv[1] == "adopt":
        Storage.adopt = die  # type: ignore[method-assign]
    elif sys.argv[1] == "create":
        JobStore.create = die  # type: ignore[method-assign]
    elif sys.argv[1] == "created":
        JobStore.create = dying_after(JobStore.create)  # type: ignore[method-assign]
    runpy.run_module(LIGHT_SERVICE, run_name="__main__")
