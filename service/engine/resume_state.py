"""Saves the resume state of a running job next to its mask log, and restores it in a later attempt."""

from __future__ import annotations

import time

from service.run.segment import Segmentation
from service.storage.job_files import JobFiles
from service.storage.mask_log import MaskLog
from vos.runtime.run_state import RunState

_MAX_TIME_SHARE = 0.02
"""Largest share of a job's time that saving resume states may take."""


class ResumeState:
    """The resume state of one attempt at a job.

    Args:
        files: Files of the job.
        run: The segmentation.
        log: Mask log of the job.
        fingerprint: Digest of everything that the masks depend on.
        min_seconds: Shortest time between two saves.
    """

    def __init__(
        self, files: JobFiles, run: Segmentation, log: MaskLog, *, fingerprint: str, min_seconds: float
    ) -> None:
        self._files = files
        self._run = run
        self._log = log
        self._fingerprint = fingerprint
        self._min_seconds = min_seconds
        self._due: float | None = None

    def restore(self, first_frame: int) -> RunState | None:
        """Let the run resume from the saved state and return it. Without a usable state, clear the mask log.

        Args:
            first_frame: Presentation index of the first frame of the output.
        """
        state = RunState.load(self._files.state, self._fingerprint)
        if state is None or state.next_index - 1 > max(self._log.last, first_frame - 1):
            self._log.clear()
            return None
        self._run.resume(state)
        return state

    def save_if_due(self) -> None:
        """Save the state, but not too often. Call this after each mask."""
        now = time.monotonic()
        if self._due is None:  # a client waits for the first mask, and there is little to lose yet
            self._due = now + self._min_seconds
        if now >= self._due:
            self.save()
            spent = time.monotonic() - now
            self._due = now + max(self._min_seconds, spent / _MAX_TIME_SHARE)

    def save(self) -> None:
        """Save the state if the run has begun."""
        state = self._run.state
        if state is not None:
            self._log.sync()  # the state must never be ahead of the masks
            state.save(self._files.state, self._fingerprint)


def delete_state(files: JobFiles) -> None:
    """Delete the resume state of a job."""
    for path in (files.state, files.state.with_name(files.state.name + ".part")):
        path.unlink(missing_ok=True)
