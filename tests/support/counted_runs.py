"""Workers that note each frame that their network computes, also if its mask never counts.

`load` is a `ModelLoader` like that of `tests.support.fakes`. With it, a worker appends a line "<job id> <frame>" to the
file `computed` in the settings' home before it hands out a mask; a frame that is there twice was computed twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, cast

from service.config import Settings
from service.engine import worker
from service.engine.attempts.attempt import Attempt
from service.engine.attempts.correction_run import CorrectionRun
from service.engine.attempts.job_run import JobRun
from service.jobs.types import Job
from service.run.model_loader import LoadedModel, ModelChoice
from service.run.resume import save_schedule
from service.storage.job_files import JobFiles
from tests.support import fakes
from vos.runtime.protocol import SegmenterLike
from vos.types import FrameMask, Options

LOADER = "tests.support.counted_runs:load"


def load(choice: ModelChoice, options: Options, settings: Settings) -> LoadedModel:
    """Load the network of `tests.support.fakes`, in the process of a worker whose runs are counted from now on."""
    worker.JobRun, worker.CorrectionRun = CountedRun, CountedCorrection  # type: ignore[misc]
    model = fakes.load(choice, options, settings)
    return replace(model, segmenter=CountedSegmenter(model.segmenter, settings.home / "computed"))


def load_saving(choice: ModelChoice, options: Options, settings: Settings) -> LoadedModel:
    """Load the same, in a worker that saves its state after every mask if it may, however long that takes."""
    save_schedule._MAX_TIME_SHARE = inf
    return load(choice, options, settings)


class CountedSegmenter(fakes.WrappedSegmenter):
    """Notes the masks of another segmenter.

    Attributes:
        job_id: The job that they are for; nothing is noted before it is known.
    """

    def __init__(self, inner: SegmenterLike, notes: Path) -> None:
        super().__init__(inner)
        self.job_id: str | None = None
        self._notes = notes

    def beside(self, start: int | None, end: int | None) -> CountedSegmenter:
        """Another one for this range."""
        other = CountedSegmenter(self._inner.beside(start, end), self._notes)
        other.job_id = self.job_id
        return other

    def run(self, *arguments: Any, **prompts: Any) -> Iterator[FrameMask]:
        """Yield the masks of the other segmenter."""
        # One write per line, which the kernel appends whole and keeps when this process is killed.
        notes = os.open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for mask in self._inner.run(*arguments, **prompts):
                if self.job_id is not None:
                    os.write(notes, f"{self.job_id} {mask.index}\n".encode())
                yield mask
        finally:
            os.close(notes)


class _Counted(Attempt):
    """Tells the segmenter which job it works for."""

    def __init__(self, job: Job, files: JobFiles, load: Callable[[Options], LoadedModel], *others: Any) -> None:
        def load_for_job(options: Options) -> LoadedModel:
            model = load(options)
            cast("CountedSegmenter", model.segmenter).job_id = job.id
            return model

        super().__init__(job, files, load_for_job, *others)


class CountedRun(_Counted, JobRun):
    """A job."""


class CountedCorrection(_Counted, CorrectionRun):
    """A correction."""


def computed_frames(home: Path) -> tuple[int, int]:
    """Return how many frames the workers with a home have computed, and how many different ones."""
    lines = (home / "computed").read_text().splitlines()
    return len(lines), len(set(lines))
