"""What every child process of the service does first."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import threading
from multiprocessing import get_context, parent_process

SPAWN = get_context("spawn")
"""Children start from nothing: CUDA cannot be used after a fork, and no lock or file is inherited by accident."""


def become_child() -> None:
    """Leave Ctrl-C to the parent, end with the parent, and leave no core file when a decoder crashes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    threading.Thread(target=_end_with_parent, name="keymask-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def limit_memory(bytes_allowed: int) -> None:
    """Let allocations beyond this much address space fail."""
    resource.setrlimit(resource.RLIMIT_AS, (bytes_allowed, bytes_allowed))
