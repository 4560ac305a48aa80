"""Copies of the walks of a job, whose parts and states are objects.

jobs/<job id>/walks/<number>-<fence>/<first>.ndjson    part of the masks: `first` is the offset of its first byte
jobs/<job id>/walks/<number>-<fence>/state.npz         the resume state, which counts on parts stored before it
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from service.errors import LostJobError
from service.storage.objects.object_store import ObjectStore
from service.storage.objects.parts import append_parts
from service.storage.walk_files import WalkFiles
from vos.runtime.durable import part_of

_STATE = "state.npz"


@dataclass(frozen=True, slots=True)
class ScratchWalks(WalkFiles):
    """Paths of the copies. `WalkFiles` documents the methods.

    Attributes:
        store: Where the objects are.
    """

    store: ObjectStore

    def fetch(self, before: int) -> None:
        """Copy the walks of earlier attempts, unless they were made on this machine: then they are as complete."""
        for number, fence in self._stored(before) if before > 1 else ():
            if self.state(number, fence).exists():
                continue
            key = self._key(number, fence)
            parts = [entry.key for entry in self.store.entries(key) if entry.key.endswith(".ndjson")]
            masks, state = (part_of(path) for path in (self.masks(number, fence), self.state(number, fence)))
            try:
                with suppress(FileNotFoundError), masks.open("wb") as file:  # no state yet
                    self.store.fetch(f"{key}{_STATE}", state)
                    append_parts(self.store, parts, file)
                    masks.replace(self.masks(number, fence))
                    state.replace(self.state(number, fence))
            finally:
                masks.unlink(missing_ok=True)
                state.unlink(missing_ok=True)

    def publish_masks(self, number: int, fence: int, start: int, end: int) -> None:
        """Store a part of the masks."""
        with self.masks(number, fence).open("rb") as file:
            file.seek(start)
            lines = file.read(end - start)
        if not self.store.create(f"{self._key(number, fence)}{start:012}.ndjson", lines):
            raise LostJobError(f"another process has written a walk of job {self.folder.name} with fence {fence}")

    def publish_state(self, number: int, fence: int) -> None:
        """Store the resume state in place of the one before."""
        self.store.put_file(f"{self._key(number, fence)}{_STATE}", self.state(number, fence))

    def discard(self, before: int, number: int | None = None) -> None:
        """Delete the copies, then the objects."""
        super(ScratchWalks, self).discard(before, number)
        for other, fence in self._stored(before):
            if number in (None, other):
                self.store.delete([entry.key for entry in self.store.entries(self._key(other, fence))])

    def _stored(self, before: int) -> Iterator[tuple[int, int]]:
        """Yield the numbers and fences of the walks that have objects."""
        for name in self.store.folders(f"jobs/{self.folder.name}/walks/"):
            number, _, fence = name.partition("-")
            if int(fence) < before:
                yield int(number), int(fence)

    def _key(self, number: int, fence: int) -> str:
        return f"jobs/{self.folder.name}/walks/{number}-{fence}/"
