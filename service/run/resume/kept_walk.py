"""Keeps a walk back until its run is finished, so that a run that was cut off does not repeat it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from service.run.directions.spool import MaskSpool
from service.run.resume.save_schedule import SaveSchedule
from vos.runtime.run_state import RunState


class KeptWalk:
    """The masks of a walk back in a file, and the state with which the walk goes on.

    Args:
        masks: File of the masks.
        state: File of the resume state.
        fingerprint: Digest of everything that the masks depend on.
        min_seconds: Shortest time between two saved states.
        resume: Whether to go on from what an earlier run left.
        begin: Makes the folder of the files; called when the walk has its first mask.
    """

    def __init__(
        self,
        masks: Path,
        state: Path,
        *,
        fingerprint: str,
        min_seconds: float,
        resume: bool,
        begin: Callable[[], None],
    ) -> None:
        self._masks, self._path = masks, state
        self._fingerprint = fingerprint
        self._begin = begin
        self._schedule = SaveSchedule(min_seconds)
        self.state = RunState.load(state, fingerprint) if resume else None
        """State after the masks that an earlier run left; None if the walk starts anew."""
        if self.state is not None and _line_count(masks) < self.state.next_index:
            self.state = None

    def open(self, first: int, width: int, height: int) -> MaskSpool:
        """Open the file of the masks, with those that an earlier run left.

        Args:
            first: As for `MaskSpool`.
            width: Width of the masks in pixels.
            height: Height of the masks in pixels.
        """
        self._begin()
        return MaskSpool(first, width, height, self._masks, 0 if self.state is None else self.state.next_index)

    def save_if_due(self, spool: MaskSpool, state: Callable[[], RunState | None]) -> None:
        """Save the state, but not too often. Call this after each mask."""
        self._schedule.run_if_due(lambda: self.save(spool, state()))

    def save(self, spool: MaskSpool, state: RunState | None) -> None:
        """Wait until the masks are on the disk, then save the state."""
        if state is not None:
            spool.sync()
            state.save(self._path, self._fingerprint)


def _line_count(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(line.endswith(b"\n") for line in file)
    except FileNotFoundError:
        return 0
