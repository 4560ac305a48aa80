"""Sizes of the jobs' folders, measured often and at little cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vos.runtime.durable import is_part

_SECONDS = 2.0
"""How long a measurement of all folders stays valid."""
_MAX_TIME_SHARE = 0.05
"""Largest share of the time that measuring may take; with very many jobs a measurement stays valid for longer."""
_TRUST_SECONDS = 60.0
"""How long the size of a folder is trusted whose names do not change: a growing file does not change them."""
_TICK_NS = 50_000_000
"""Resolution of a file system's times, and some more."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """Size of a folder, the times of change that it was measured at, and when that was on the monotonic clock."""

    size: int
    changed: tuple[int, ...]
    at: float


class Sizes(Protocol):
    """Sizes of all jobs; `JobSizes` documents the methods."""

    def total(self) -> int: ...  # noqa: D102
    def total_of(self, owner: str) -> int: ...  # noqa: D102
    def measure(self, name: str, owner: str | None) -> None: ...  # noqa: D102
    def forget(self, name: str) -> None: ...  # noqa: D102
    def refresh(self, *, shared: bool = False) -> None: ...  # noqa: D102


class JobSizes:
    """Sizes of all folders in the folder of jobs. Unfinished result files do not count: their bytes are reserved.

    Args:
        jobs: Folder of the jobs' folders.
        owners: Returns the API key of each of the given jobs that exist, "" for a job without a key.
    """

    def __init__(self, jobs: Path, owners: Callable[[Collection[str]], Mapping[str, str]]) -> None:
        self._jobs = jobs
        self._find_owners = owners
        self._measured: dict[str, _Measured] = {}
        self._owners: dict[str, str] = {}
        self._valid_until = 0.0
        self._seen_change = -1

    def total(self) -> int:
        """Return the size of all folders in bytes."""
        self.refresh()
        return sum(entry.size for entry in self._measured.values())

    def total_of(self, owner: str) -> int:
        """Return the size of all jobs of an API key in bytes, as of the last refresh."""
        self._owners.update(self._find_owners([name for name in self._measured if name not in self._owners]))
        return sum(entry.size for name, entry in self._measured.items() if self._owners.get(name) == owner)

    def measure(self, name: str, owner: str | None) -> None:
        """Measure the folder of one job again, and make other processes do so."""
        os.utime(self._jobs)
        self._measured.pop(name, None)
        self._measured[name] = self._measure(name)
        if owner is not None:
            self._owners[name] = owner

    def forget(self, name: str) -> None:
        """Forget a deleted folder."""
        self._measured.pop(name, None)

    def refresh(self, *, shared: bool = False) -> None:
        """Measure all folders that may have changed, if the last time is long ago.

        Args:
            shared: Whether other processes are active too. Then do so whenever the folder of jobs has changed.
        """
        changed = self._jobs.stat().st_mtime_ns
        began = time.monotonic()
        if began < self._valid_until and (not shared or changed == self._seen_change):
            return
        # A change within the same tick of the clock as the last one does not show.
        self._seen_change = changed if time.time_ns() - changed > _TICK_NS else -1
        names = [entry.name for entry in os.scandir(self._jobs)]
        self._measured = {name: self._measure(name) for name in names}
        self._owners = {name: owner for name, owner in self._owners.items() if name in self._measured}
        now = time.monotonic()
        self._valid_until = now + max(_SECONDS, (now - began) / _MAX_TIME_SHARE)

    def _measure(self, name: str) -> _Measured:
        folder, now = f"{self._jobs}/{name}", time.monotonic()
        changed = (_change_of(folder), _change_of(f"{folder}/results"))
        known = self._measured.get(name)
        if known is not None and known.changed == changed and now - known.at < _TRUST_SECONDS:
            return known
        return _Measured(_size_of(folder), changed, now)


def _size_of(folder: str) -> int:
    """Return the size of the files in a folder and its folders, without unfinished ones and those that vanish.

    Of a file that several jobs share, each has its part, so that all of them together count it once.
    """
    total = 0
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _size_of(entry.path)
            elif not is_part(entry.name):
                with suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    total += stat.st_size // max(1, stat.st_nlink)
    return total


def _change_of(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - for many files, several times as fast as Path.stat
    except FileNotFoundError:
        return 0
