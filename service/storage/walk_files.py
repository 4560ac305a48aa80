"""Files of the walks of a job: frames segmented in one direction, whose masks are not in the mask log as they are.

ROOT/jobs/<job id>/walk-<number>-<fence>.{ndjson, npz}    the masks that one attempt has of a walk, and its resume state

A job has one walk, back from its last prompt; a correction has two per corrected frame. Each attempt writes files of
its own, so that a worker that was stopped and continued changes nothing of an attempt after its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"walk-(\d+)-(\d+)\.(?:ndjson|npz)")


@dataclass(frozen=True, slots=True)
class WalkFiles:
    """Paths of the walks of one job.

    Attributes:
        folder: Folder of the job.
    """

    folder: Path

    def masks(self, number: int, fence: int) -> Path:
        """Return the path of the masks that an attempt has of a walk."""
        return self.folder / f"walk-{number}-{fence}.ndjson"

    def state(self, number: int, fence: int) -> Path:
        """Return the path of the resume state that belongs to these masks."""
        return self.folder / f"walk-{number}-{fence}.npz"

    def fences(self, number: int, before: int) -> list[int]:
        """Return the fences below `before` of the attempts that left something of a walk, the latest one first."""
        return sorted({fence for _, other, fence in self._found(before) if other == number}, reverse=True)

    def fetch(self, before: int) -> None:
        """Wait until the walks of the attempts with lower fences are in the folder.

        Raises:
            StorageUnavailableError: They cannot be read at the moment.
        """

    def publish_masks(self, number: int, fence: int, start: int, end: int) -> None:
        """Store the bytes from `start` to `end` of the masks of an attempt where other machines see them.

        Raises:
            LostJobError: Another process writes with this fence.
            StorageUnavailableError: They cannot be stored at the moment.
        """

    def publish_state(self, number: int, fence: int) -> None:
        """Store the resume state of an attempt, after the masks that it counts on.

        Raises:
            StorageUnavailableError: It cannot be stored at the moment.
        """

    def discard(self, before: int, number: int | None = None) -> None:
        """Delete the walks of the attempts with lower fences; with a number, only those of one walk.

        Raises:
            StorageUnavailableError: What other machines see of them cannot be deleted at the moment.
        """
        for path, other, _ in self._found(before):
            if number in (None, other):
                path.unlink(missing_ok=True)

    def _found(self, before: int) -> Iterator[tuple[Path, int, int]]:
        for path in list(self.folder.glob("walk-*")):
            if (match := _NAME.fullmatch(path.name)) is not None and int(match[2]) < before:
                yield path, int(match[1]), int(match[2])
