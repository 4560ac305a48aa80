"""What all attempts at a job have in common: they write a mask log, report progress and keep to limits."""

from __future__ import annotations

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from codec.types import CompressedFrame
from service.engine.attempts.publishing import Publisher, insist
from service.engine.attempts.stored_walks import StoredWalks
from service.engine.reporting import Observer
from service.errors import JobTimeoutError, MasksTooLargeError, TooManyFramesError
from service.jobs.types import Job, JobProgress, LogSegment
from service.run.model_loader import LoadedModel
from service.run.resume.save_schedule import tolerate
from service.storage.job_files import JobFiles
from service.storage.mask_log import MaskLog
from vos.runtime.durable import write_durably
from vos.types import Options, Stats


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """Result of a finished job.

    Attributes:
        report: The report as JSON values.
        progress: Final progress.
        frames: Number of frames of the video, None if it was not read to its end.
    """

    report: dict[str, Any]
    progress: JobProgress
    frames: int | None


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """Limits of a job.

    Attributes:
        state_seconds: Shortest time between two saved resume states.
        max_frames: Largest number of frames of a video; uploading a long video does not count all of them.
        max_mask_bytes: Largest size of the mask log.
        max_seconds: Longest time for all attempts together.
    """

    state_seconds: float
    max_frames: int
    max_mask_bytes: int
    max_seconds: float


class Attempt(ABC):
    """One attempt at a job.

    Args:
        job: The job.
        files: Files of the job.
        load: Loads the network with the options of the job.
        observer: Called after every step. It raises an error to stop the job, and if the job was lost.
        limits: Limits of the job.
    """

    def __init__(
        self,
        job: Job,
        files: JobFiles,
        load: Callable[[Options], LoadedModel],
        observer: Observer,
        limits: AttemptLimits,
    ) -> None:
        self._job = job
        self._files = files
        self._load = load
        self._observer = observer
        self._limits = limits
        self._fence = job.fence
        self._log: MaskLog | None = None
        self._walks: StoredWalks | None = None
        self._publisher = Publisher(files, job.fence, self._count)
        self._earlier: tuple[LogSegment, ...] | None = None
        self._began = time.monotonic()
        self._new = 0

    @abstractmethod
    def run(self) -> JobOutcome:
        """Run the job. Masks that are written stay, however the run ends.

        Raises:
            CodecError, VosError, ServiceError: The job fails.
        """

    @property
    @abstractmethod
    def stats(self) -> Stats | None:
        """Frames and seconds of this attempt so far, None before its first mask."""

    @property
    def resumed(self) -> bool:
        """Whether this attempt resumed from the masks of an earlier one."""
        return self._walks is not None and self._walks.resumed

    @property
    def segments(self) -> tuple[LogSegment, ...]:
        """What counts of the mask log when this attempt ends now."""
        if self._earlier is None or self._log is None:
            return self._job.segments
        size = self._publisher.published if self._files.is_copy else self._log.size
        return (*self._earlier, LogSegment(self._fence, size)) if size else self._earlier

    def _keep(self, earlier: tuple[LogSegment, ...]) -> None:
        """Decide what counts of the mask log beside the segment of this attempt."""
        # In files that only this machine sees, nothing counts before it is published.
        self._observer.set_segments((*earlier, LogSegment(self._fence, 0 if self._files.is_copy else None)))
        self._earlier = earlier

    def _count(self, size: int) -> None:
        self._observer.set_segments((*(self._earlier or ()), LogSegment(self._fence, size)))

    def _fetch(self) -> None:
        """Wait until everything that the attempt reads is in the job's folder."""

        def fetch() -> None:
            self._files.fetch(report, parent_masks=True)
            self._files.fetch_states(self._fence)
            self._files.walks.fetch(self._fence)
            for segment in self._job.segments:
                self._files.log_size(segment)

        report = partial(self._report, "loading")
        insist(fetch, report)

    def _sync(self, log: MaskLog) -> None:
        """Wait until all masks so far are on the disk and count."""
        log.sync()
        self._publisher.publish(log)

    def _end(self, log: MaskLog) -> None:
        """Wait until the masks of an attempt that ends are on the disk, and let them count if that is possible now."""
        log.sync()
        tolerate(partial(self._publisher.publish, log))

    def _check_frame(self, frame: CompressedFrame) -> None:
        """Enforce the limit of frames, and report before the first mask too, so the job can be stopped at any time."""
        if frame.index >= self._limits.max_frames:
            raise TooManyFramesError(f"the video has more than the {self._limits.max_frames} frames allowed")
        if not self._new:
            self._report(self._stage)

    def _check_size(self, log: MaskLog) -> None:
        """Enforce the limit of the mask log after a line was written. Masks of a walk count with those of the log."""
        size = log.size + sum(segment.bytes or 0 for segment in self._earlier or ())
        kept = 0 if self._walks is None else self._walks.size
        if size + kept > self._limits.max_mask_bytes:
            which = f"the masks up to frame {log.last}" if size else "the masks of the walk back"
            more = ", or leave out the option soft" if self._job.options.soft else ""
            raise MasksTooLargeError(
                f"{which} take more than the {self._limits.max_mask_bytes:,} bytes allowed; "
                f"choose a range of frames with start and end, or mark fewer objects{more}"
            )

    def _store_walks(self, log: MaskLog, model: LoadedModel) -> StoredWalks:
        """Return the walks of the job, which this attempt continues and keeps for a later one."""
        self._walks = StoredWalks(
            self._files.walks,
            self._fence,
            fingerprint=self._fingerprint(model),
            min_seconds=self._limits.state_seconds,
            check_claim=self._observer.check_claim,
            check_size=partial(self._check_size, log),
        )
        return self._walks

    def _fingerprint(self, model: LoadedModel) -> str:
        """Return a digest of everything that the masks depend on."""
        about = [self._job.payload_sha256, self._job.options.model_dump(), model.description]
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()

    def _report(self, stage: str) -> None:
        done, total = self._done, self._total
        # The number of frames of a long video is an estimate until all of it has been read.
        total = None if total is None else max(done, total)
        self._observer(JobProgress(done, total, stage, self._fps, self._seconds), self.stats)
        if self._seconds > self._limits.max_seconds:
            raise JobTimeoutError(
                f"the job has run for {self._limits.max_seconds:g} seconds, the time allowed for all attempts"
            )

    def _finished(self, report: dict[str, Any], frames: int | None) -> JobOutcome:
        """Write the report, after which the job may be called succeeded; return the outcome."""
        assert self._log is not None
        insist(partial(self._publisher.publish, self._log), partial(self._report, "segmenting"))
        write_durably(self._files.report(self._fence), (json.dumps(report, indent=2) + "\n").encode())
        progress = JobProgress(self._done, self._done, "finished", self._fps, self._seconds)
        return JobOutcome(report, progress, frames)

    @property
    def _stage(self) -> str:
        """What the attempt is doing before its first mask."""
        return "resuming" if self.resumed else "segmenting"

    @property
    def _fps(self) -> float | None:
        """Masks per second of this attempt, None before the first one."""
        return round(self._new / max(1e-6, time.monotonic() - self._began), 2) if self._new else None

    @property
    def _seconds(self) -> float:
        """Time spent on the job, in this attempt and in all before it."""
        return self._job.progress.seconds + time.monotonic() - self._began

    @property
    def _done(self) -> int:
        """Number of masks in the log, whose indices are consecutive; those of earlier attempts count too."""
        return 0 if self._log is None else max(0, self._log.last - self._job.options.first_frame + 1)

    @property
    def _total(self) -> int | None:
        """Expected number of masks."""
        return self._job.options.mask_count(self._job.video.frames)


def public_description(model: LoadedModel) -> dict[str, Any]:
    """Return what reports say of a network: not where its weights lie on the server; their digest identifies them."""
    return {name: value for name, value in model.description.items() if name != "weights"}


def stage_with_share(name: str, done: int, total: int) -> str:
    """Return the name of a stage with how much of it is done, in steps of 5 %: each new stage is stored at once."""
    return f"{name}: {5 * int(20 * done / total)} %"
