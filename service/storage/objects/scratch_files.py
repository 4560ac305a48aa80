"""Copies of the objects of a job in a scratch folder, fetched when they are needed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from service.jobs.types import LogSegment
from service.storage.job_files import JobFiles
from service.storage.objects.job_objects import INPUTS, JobObjects, is_of_parent
from service.storage.objects.scratch_walks import ScratchWalks
from service.storage.result_files import stat_result, store_result
from vos.runtime.durable import part_of

_LINK_SECONDS = 300.0
"""How long the URL of a result holds."""
_locks = tuple(Lock() for _ in range(32))
"""One of them is held while files of a job are fetched, so that simultaneous requests fetch them once."""


@dataclass(frozen=True, slots=True)
class ScratchFiles(JobFiles):
    """Paths of the copies. `JobFiles` documents the methods.

    Attributes:
        objects: The objects of all jobs.
    """

    objects: JobObjects
    is_copy: ClassVar[bool] = True

    @property
    def _id(self) -> str:
        return self.folder.name

    @property
    def walks(self) -> ScratchWalks:
        """The walks of the job's attempts."""
        return ScratchWalks(self.folder, self.objects.store)

    @property
    def _lock(self) -> Lock:
        return _locks[hash(self._id) % len(_locks)]

    def touch(self) -> None:
        """Note that the folder is in use."""
        self.folder.mkdir(exist_ok=True)
        os.utime(self.folder)

    def fetch(self, on_block: Callable[[], None] = lambda: None, *, parent_masks: bool = False) -> None:
        """Copy those inputs that are not in the folder."""
        with self._lock:
            for name, about in self._inputs().items():
                path = self.folder / name
                if not path.exists() and (parent_masks or not is_of_parent(name)):
                    self.objects.fetch_input(self._id, name, path, about["sha256"], on_block)

    def _inputs(self) -> dict[str, dict[str, Any]]:
        """Return the inputs of the job, read once."""
        listed = self.folder / INPUTS
        with suppress(FileNotFoundError):
            found: dict[str, dict[str, Any]] = json.loads(listed.read_bytes())
            self.touch()
            return found
        found = self.objects.inputs(self._id)
        self.touch()
        part = part_of(listed)
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(listed)
        return found

    def log_size(self, segment: LogSegment) -> int:
        """Return how many bytes of a segment count, after those that are not in the folder were fetched."""
        wanted = segment.bytes or 0
        path = self.mask_log(segment.fence)
        with suppress(FileNotFoundError):
            if path.stat().st_size >= wanted:
                self.touch()
                return wanted
        if not wanted:
            return 0
        with self._lock:
            self.touch()
            start = path.stat().st_size if path.exists() else 0
            if start < wanted:
                self.objects.fetch_masks(self._id, segment.fence, path, start, wanted)
            return min(path.stat().st_size, wanted)

    def fetch_states(self, before: int) -> None:
        """Copy the resume states of earlier attempts."""
        self.objects.fetch_states(self._id, before, self.state)

    def publish_masks(self, fence: int, start: int, end: int) -> None:
        """Store a part of the masks of an attempt."""
        self.touch()
        with self.mask_log(fence).open("rb") as file:
            file.seek(start)
            self.objects.put_masks(self._id, fence, start, file.read(end - start))

    def publish_state(self, fence: int) -> None:
        """Store the resume state of an attempt."""
        self.objects.put_state(self._id, fence, self.state(fence))

    def discard_states(self) -> None:
        """Delete the resume states, and the masks of the job that a correction corrects."""
        self.objects.delete_states(self._id)

    def find_result(self, name: str) -> os.stat_result | None:
        """Return the stat of a result file, after it was copied if another process has made it."""
        self.touch()
        target = self.result(name)
        with self._lock:
            if (stat := stat_result(target)) is not None:
                return stat
            target.parent.mkdir(exist_ok=True)
            part = part_of(target)
            try:
                if self.objects.fetch_result(self._id, name, part):
                    store_result(part, target)
            finally:
                part.unlink(missing_ok=True)
            return stat_result(target)

    def store_result(self, part: Path, name: str, media_type: str) -> None:
        """Store a complete result file, and give it its name."""
        self.objects.put_result(self._id, name, part, media_type)
        store_result(part, self.result(name))

    def sign_result(self, name: str) -> str | None:
        """Return a URL at which anybody can read a result for a few minutes, None if there is none."""
        return self.objects.sign_result(self._id, name, _LINK_SECONDS)
