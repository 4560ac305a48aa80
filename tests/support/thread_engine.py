"""A job engine in a thread of the test process, without a network. Tests can pause its jobs and make them fail."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from codec.reader import open_video
from service.engine.attempts.attempt import AttemptLimits
from service.engine.attempts.correction_run import CorrectionRun
from service.engine.reporting import CanceledError
from service.engine.types import EngineConfig, EngineTotals, WorkerState, WorkerStatus
from service.errors import error_mapping
from service.jobs.store import JobStore
from service.jobs.types import Job, JobError, JobProgress, JobStatus, LogSegment
from service.prompts.read_prompt import read_prompt
from service.storage.correction_files import delete_parent_log
from service.storage.job_files import Storage
from service.storage.mask_log import MaskLog
from tests.support.given_frames import correct_given_frames
from tests.support.still_engine import StillSegmenter
from vos.types import Options

REVIEW = [{"from": 2, "to": 5, "object": 1, "reason": "cut", "score": 0.81}]
"""What the reports say of the frames to look at first."""

NAME = "thread"


@dataclass
class ThreadEngine:
    """Returns the prompt mask for every frame.

    Attributes:
        config: The configuration of the engine.
        store: The jobs.
        storage: The files of the jobs.
        gate: While it is cleared, running jobs wait before each frame from `hold_at` on.
        hold_at: Number of frames that a job may write while the gate is cleared.
        paused: While it is set, no job is started.
        failing: Whether jobs fail after their second frame.
        ready: Whether the worker counts as ready, as in `Engine`.
        sources: Source of a mask -> number of frames so far.
    """

    config: EngineConfig
    store: JobStore
    storage: Storage
    gate: threading.Event = field(default_factory=threading.Event)
    hold_at: int = 0
    paused: threading.Event = field(default_factory=threading.Event)
    failing: bool = False
    ready: bool = True
    sources: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.gate.set()
        self._wake = threading.Event()
        self._stopped = False
        self._listener: Callable[[str], None] = lambda _job_id: None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self.gate.set()
        self._wake.set()
        self._thread.join(120)
        assert not self._thread.is_alive()

    def wake(self) -> None:
        """Look for jobs now."""
        self._wake.set()

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call a function with the id of each job that has ended."""
        self._listener = listener

    def unready_reason(self) -> str | None:
        """Return the failure of the worker if it does not count as ready."""
        return None if self.ready else "no weights"

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return the state of the only worker."""
        model = {"name": self.config.model.name} if self.ready else None
        failure = None if self.ready else "no weights"
        return (WorkerStatus(NAME, "cpu", os.getpid(), WorkerState.IDLE, model=model, failure=failure),)

    def totals(self) -> EngineTotals:
        """Return the counters so far."""
        return EngineTotals(frames=dict(self.sources), seconds={"decode": 0.5})

    def _work(self) -> None:
        while not self._stopped:
            self._wake.wait(0.2)
            self._wake.clear()
            with suppress(SQLAlchemyError):  # the database is away for a while
                self._run_all()

    def _run_all(self) -> None:
        for job_id in self.store.pending_deletion():
            self.storage.delete(job_id)
            self.store.remove(job_id)
        while not self._stopped and not self.paused.is_set() and (job := self.store.claim_next(NAME)) is not None:
            self._run(job)
            self._listener(job.id)

    def _run(self, job: Job) -> None:
        try:
            if job.corrects is not None:
                self._correct(job)
                return
            end = self._segment(job)
        except Exception as error:
            failure = JobError(error_mapping(error).problem, str(error))
            self.store.move(job.id, JobStatus.RUNNING, JobStatus.FAILED, error=failure)
            return
        self.store.move(job.id, JobStatus.RUNNING, end, report={"frames": dict(self.sources), "needs_review": REVIEW})

    def _segment(self, job: Job) -> JobStatus:
        files = self.storage.job(job.id)
        self.store.set_segments(job.id, job.fence, [LogSegment(job.fence)])
        with closing(MaskLog(files.mask_log(job.fence))) as log, open_video(files.video) as reader:
            info = reader.info
            read = read_prompt(files.mask, info, job.options.prompt_frame, job.options.mask_mode)
            options = Options(start=job.options.start, end=job.options.end, soft=job.options.soft)
            masks = StillSegmenter(options).run(reader, info, read.prompt)
            for done, frame in enumerate(masks, 1):
                while done > self.hold_at and not self.gate.wait(0.02) and self.report(job, done - 1):
                    pass
                if not self.report(job, done - 1):
                    return JobStatus.CANCELED
                if self.failing and done > 2:
                    raise RuntimeError("broken on command")
                log.append(frame)
                self.sources[str(frame.source)] += 1
                self.report(job, done)
        return JobStatus.SUCCEEDED

    def _correct(self, job: Job) -> None:
        limits = AttemptLimits(state_seconds=0, max_frames=1000, max_mask_bytes=1 << 30, max_seconds=600)
        run = CorrectionRun(
            job, self.storage.job(job.id), None, _CorrectionObserver(self, job), limits, compute=correct_given_frames
        )
        try:
            outcome = run.run()
        except CanceledError:
            self.store.move(job.id, JobStatus.RUNNING, JobStatus.CANCELED)
            return
        delete_parent_log(self.storage.job(job.id))
        changes = {"report": outcome.report, "progress": outcome.progress, "segments": run.segments}
        self.store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, **changes)

    def report(self, job: Job, done: int) -> bool:
        """Store the progress of a job; return whether it may continue."""
        progress = JobProgress(done, job.progress.total, "segmenting", 10.0)
        return self.store.set_progress(job.id, job.fence, progress) and not self._stopped


@dataclass
class _CorrectionObserver:
    """Reports the progress of a correction, and holds it while the gate of the engine is cleared."""

    engine: ThreadEngine
    job: Job

    def __call__(self, progress: JobProgress, _stats: object) -> None:
        engine, done = self.engine, progress.done
        while done >= engine.hold_at and not engine.gate.wait(0.02) and engine.report(self.job, done):
            pass
        if not engine.report(self.job, done):
            raise CanceledError

    def set_segments(self, segments: Sequence[LogSegment]) -> None:
        """Store what counts of the mask log."""
        self.engine.store.set_segments(self.job.id, self.job.fence, segments)

    def check_claim(self) -> None:
        """Nobody else takes jobs."""
