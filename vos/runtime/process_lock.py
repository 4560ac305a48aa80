"""File locks that show whether a process is alive: the kernel releases them however the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class ProcessLock:
    """Holds a lock on a new file until `release` or the end of the process.

    The file appears under its name only once it is locked, so it never looks like the file of a dead process.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        unlocked = path.with_name(f".{path.name}")
        self._file = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(path)

    def release(self) -> None:
        """Remove the file and release the lock."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_locked(path: Path) -> bool:
    """Return whether the process that locked this file is alive: no without a file, yes if it cannot be opened."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        # A shared lock, so two simultaneous calls do not mistake each other for the owner.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
