"""What an object store has of a run that is not finished, so that another machine can continue it.

OUT/NAME/.resume/*        as in a folder of results (`service.run.resume.unfinished_run`)
OUT/NAME/masks/*.png      the masks so far, each stored once
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from service.run.resume.save_schedule import SaveSchedule, tolerate
from service.storage.objects.object_store import ObjectStore

_PARALLEL = 8
"""Objects that are stored or read side by side."""
REPORT = "report.json"
_TRACES = ".resume"
_FILES = ("request.json", "frames.ndjson", "back.ndjson", "back.npz", "state.npz")
"""A state comes after the masks that it counts on."""
_SECONDS = 60.0
"""Shortest time between two versions: each has a state of a few megabytes, and all lines so far."""


class UnfinishedObjects:
    """The traces of a run, and its masks so far.

    Args:
        store: Objects of the results.
        folder: Folder in which the run has them on this machine.
    """

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._schedule = SaveSchedule(_SECONDS)
        self._stored: dict[str, tuple[int, ...]] = {}
        self._is_ours = self._has_masks = False

    @property
    def fingerprint(self) -> str | None:
        """Digest of the request that the stored run belongs to; None if there is no unfinished run."""
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            return str(json.loads(self._store.read(f"{_TRACES}/request.json"))["fingerprint"])
        return None

    @property
    def is_here(self) -> bool:
        """Whether the run on this machine has begun and is not finished."""
        return (self._folder / _TRACES / "request.json").exists()

    def fetch(self) -> None:
        """Copy the run to this machine, which continues it."""
        masks = [entry.key for entry in self._store.entries("masks") if is_mask(entry.key)]
        for folder in (_TRACES, "masks"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)

        def fetch(key: str) -> None:
            with suppress(FileNotFoundError):
                (self._folder / key).write_bytes(self._store.read(key))
                self._stored[key] = self._version(key)

        in_parallel(fetch, [*(f"{_TRACES}/{name}" for name in _FILES), *masks])
        self._is_ours = True

    def store_if_due(self) -> None:
        """Store the run as it is now, but not too often. Call this after a resume state was saved."""
        tolerate(lambda: self._schedule.run_if_due(self.store))

    def store(self) -> None:
        """Store the run as it is now. What is there of another run is deleted before, its results by the first mask.

        Raises:
            StorageUnavailableError: It cannot be stored at the moment.
        """
        if not self._is_ours:
            self.remove()
            self._is_ours = True
        masks = [f"masks/{path.name}" for path in (self._folder / "masks").glob("*.png")]
        if masks and not self._has_masks:
            others = {entry.key for entry in self._store.entries("masks") if is_mask(entry.key)} - self._stored.keys()
            self._store.delete([REPORT, *others])
            self._has_masks = True
        in_parallel(self._put, sorted(key for key in masks if not self.has(key)))
        for key in (f"{_TRACES}/{name}" for name in _FILES):
            if (self._folder / key).exists() and not self.has(key):
                self._put(key)

    def has(self, key: str) -> bool:
        """Return whether a file is stored as it is now."""
        return self._stored.get(key) == self._version(key)

    def remove(self) -> None:
        """Delete the traces: there is nothing to continue."""
        if traces := [entry.key for entry in self._store.entries(_TRACES)]:
            self._store.delete(traces)

    def _put(self, key: str) -> None:
        version = self._version(key)
        self._store.put_file(key, self._folder / key)
        self._stored[key] = version

    def _version(self, key: str) -> tuple[int, ...]:
        stat = (self._folder / key).stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def is_mask(key: str) -> bool:
    """Return whether an object is the mask of a frame."""
    name = key.rpartition("/")[2]
    return name.endswith(".png") and name.removesuffix(".png").isdecimal()


def in_parallel(function: Callable[[str], object], keys: Iterable[str]) -> None:
    """Call a function with each key, several side by side."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for _ in pool.map(function, keys):
            pass
