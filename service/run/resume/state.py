"""Saves the resume state of a run next to its masks, and restores it in a later attempt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from service.run.resume.save_schedule import SaveSchedule
from service.run.segment import Segmentation
from vos.runtime.run_state import RunState


class ResumeState:
    """The resume state of one attempt at a run.

    Args:
        path: Where the state is saved.
        run: The segmentation.
        fingerprint: Digest of everything that the masks depend on.
        min_seconds: Shortest time between two saves.
        sync: Waits until all masks so far are on the disk: a state must never be ahead of the masks.
        on_saved: Called after the state was saved.
    """

    def __init__(
        self,
        path: Path,
        run: Segmentation,
        *,
        fingerprint: str,
        min_seconds: float,
        sync: Callable[[], None],
        on_saved: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._run = run
        self._fingerprint = fingerprint
        self._schedule = SaveSchedule(min_seconds)
        self._sync = sync
        self._on_saved = on_saved

    def restore(self, last: int, path: Path | None = None) -> RunState | None:
        """Let the run resume from a saved state and return it; None without a usable state.

        Args:
            last: Presentation index of the last mask that earlier attempts left; before the first one, the index
                before it.
            path: Where an earlier attempt saved its state, if not where this one does.
        """
        state = RunState.load(path or self._path, self._fingerprint)
        if state is None or state.next_index - 1 > last:
            return None
        self._run.resume(state)
        return state

    def save_if_due(self) -> None:
        """Save the state, but not too often. Call this after each mask."""
        self._schedule.run_if_due(self.save)

    def save(self) -> None:
        """Save the state if the run has begun."""
        state = self._run.state
        if state is not None:
            self._sync()
            state.save(self._path, self._fingerprint)
            self._on_saved()


def delete_state(path: Path) -> None:
    """Delete a resume state."""
    path.unlink(missing_ok=True)
