"""What the processes of the service do first."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import resource
import signal
import threading
from contextlib import suppress
from multiprocessing import get_context, parent_process

_M_ARENA_MAX = -8
"""Of glibc's <malloc.h>."""

_FULL_COLLECTION_EVERY = 100
"""Collections of the middle generation to a full one; Python's own are 10."""

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


def share_memory_among_threads() -> None:
    """Let all threads allocate from one arena, where the C library is glibc; call it before there are threads.

    By default each thread gets one of its own, and what many threads leave in them is never given to others: a process
    of many short requests grows slowly for ever.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def collect_rarely() -> None:
    """Leave all that there is now out of garbage collections and make full ones rare; call it once all is loaded.

    A collection stops every thread, and a full one looks at each object: with the libraries' hundreds of thousands it
    would hold up answers for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _FULL_COLLECTION_EVERY)


def limit_memory(bytes_allowed: int) -> None:
    """Let allocations beyond this much address space fail."""
    resource.setrlimit(resource.RLIMIT_AS, (bytes_allowed, bytes_allowed))
