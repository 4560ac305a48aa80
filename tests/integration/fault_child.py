"""The service as a process of its own, with a light engine; it may be told to die at one point of taking a job in.

Argument: "none", or where SIGKILL strikes: "adopt" (the upload is inspected, its files are not the job's yet), "create"
(they are, but there is no row), "created" (the row is committed, nobody has been told).
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
    """As the kernel does when memory is out."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, then death."""

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
