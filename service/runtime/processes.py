"""Setup of the service's processes."""

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
"""From glibc's <malloc.h>."""

_FULL_COLLECTION_EVERY = 100
"""Collections of the middle generation per full one; Python's default is 10."""

SPAWN = get_context("spawn")
"""Children start afresh: CUDA cannot be used after a fork, and no lock or file is inherited by accident."""


def keep_files_private() -> None:
    """Let nobody but this user read what this process and its children write from now on."""
    os.umask(0o077)


def become_child() -> None:
    """Leave Ctrl-C to the parent, end when the parent ends, and write no core file when a decoder crashes."""
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

    By default each thread has an arena of its own, and memory freed in one is not reused in another: a process with
    many short requests grows without end.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def collect_rarely() -> None:
    """Exclude all existing objects from garbage collection and make full collections rare; call it once all is loaded.

    A collection stops every thread, and a full one visits each object: with the libraries' hundreds of thousands of
    objects, it would delay responses by a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _FULL_COLLECTION_EVERY)
