"""A file that its process touches at intervals, so that processes of any machine see that it is alive."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

_log = logging.getLogger(__name__)


class Pulse:
    """Touches a file from a thread until `stop` or the end of the process.

    Args:
        path: The file, created at once.
        seconds: Time between two touches.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._stopping = threading.Event()
        path.touch()
        self._thread = threading.Thread(target=self._run, name="keymask-pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Remove the file."""
        self._stopping.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._path.touch()
            except OSError as error:
                _log.warning("cannot show that this process is alive", extra={"reason": str(error)[:200]})


def latest_touch(path: Path) -> int | None:
    """Return the time of the latest touch in ns on the clock of whoever made it, None if there is no such file.

    Times of different files cannot be compared; that a time changes shows that the process is alive.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # on NFS, only opening a file brings its time up to date
    except OSError:
        return None
    try:
        return os.fstat(file).st_mtime_ns
    finally:
        os.close(file)
