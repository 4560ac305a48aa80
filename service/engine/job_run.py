"""One attempt at a job in a worker: segment the video, write masks to the log, report progress."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codec.types import CompressedFrame
from service.engine.reporting import DrainedError, Observer
from service.errors import JobTimeoutError, MasksTooLargeError, TooManyFramesError
from service.jobs.types import Job, JobProgress, LogSegment
from service.run.model_loader import LoadedModel
from service.run.options import RunOptions
from service.run.resume.state import ResumeState
from service.run.review.reviewer import facts_of, facts_of_line
from service.run.segment import Segmentation, segment
from service.storage.job_files import JobFiles
from service.storage.mask_log import MaskLog, settle
from service.storage.mask_log_view import MaskLogView
from vos.runtime.durable import write_durably
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource, Options, Stats


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


class JobRun:
    """Runs one attempt at a job.

    Args:
        job: The job.
        files: Files of the job.
        load: Loads the network with the options of the job.
        observer: Called after every step. It raises an error to stop the job, and if the job was lost.
        state_seconds: Shortest time between two saved resume states.
        max_frames: Largest number of frames of a video; uploading a long video does not count all of them.
        max_mask_bytes: Largest size of the mask log.
        max_seconds: Longest time for all attempts together.
    """

    def __init__(
        self,
        job: Job,
        files: JobFiles,
        load: Callable[[Options], LoadedModel],
        observer: Observer,
        *,
        state_seconds: float,
        max_frames: int,
        max_mask_bytes: int,
        max_seconds: float,
    ) -> None:
        self._job = job
        self._files = files
        self._load = load
        self._observer = observer
        self._state_seconds = state_seconds
        self._max_frames = max_frames
        self._max_mask_bytes = max_mask_bytes
        self._max_seconds = max_seconds
        self._fence = job.fence
        self._run: Segmentation | None = None
        self._log: MaskLog | None = None
        self._earlier: tuple[LogSegment, ...] | None = None
        self._earlier_bytes = 0
        self._began = time.monotonic()
        self._new = 0
        self._write_seconds = 0.0
        self._earlier_counts: Mapping[MaskSource, int] = {}
        self._resumed_at: int | None = None

    def run(self) -> JobOutcome:
        """Run the job. Masks that are written stay, however the run ends.

        Raises:
            CodecError, VosError, ServiceError: The job fails.
        """
        self._report("loading")
        run = segment(
            self._files.video,
            self._files.mask,
            RunOptions(**self._job.options.model_dump(exclude={"model"})),
            load=lambda _choice, options, _settings: self._load(options),
            on_frame=self._check_frame,
        )
        log = MaskLog(self._files.mask_log(self._fence))
        with run, closing(log):
            self._run, self._log = run, log
            state = ResumeState(
                self._files.state(self._fence),
                run,
                fingerprint=self._fingerprint(run.model),
                min_seconds=self._state_seconds,
                sync=log.sync,
            )
            self._restore(state, log)
            try:
                for mask in run:
                    if self._resumed_at is not None and not self._new:
                        self._review_earlier(run, self._resumed_at)
                    run.add_to_review(mask.index, mask.source, facts_of(mask))
                    self._write(mask, log, state)
                    self._report("segmenting")
            except DrainedError:
                self._observer.check_claim()
                state.save()
                raise
            finally:
                log.sync()
            return self._finish(run)

    @property
    def stats(self) -> Stats | None:
        """Frames and seconds of this attempt so far, None before its first mask."""
        if self._run is None or not self._new:
            return None
        total = self._run.stats
        return Stats({s: n - self._earlier_counts.get(s, 0) for s, n in total.frames.items()}, total.seconds)

    @property
    def resumed(self) -> bool:
        """Whether this attempt resumed from the masks of an earlier one."""
        return self._resumed_at is not None

    @property
    def segments(self) -> tuple[LogSegment, ...]:
        """What counts of the mask log when this attempt ends now."""
        if self._earlier is None or self._log is None:
            return self._job.segments
        return (*self._earlier, LogSegment(self._fence, self._log.size)) if self._log.size else self._earlier

    def _restore(self, state: ResumeState, log: MaskLog) -> None:
        """Resume where an earlier attempt stopped, if possible, and decide what counts of the mask log."""
        earlier, last = settle(self._files, self._job.segments)
        restored, unused = self._load_state(state, max(last, self._job.options.first_frame - 1))
        if restored is None:
            earlier = ()
        else:
            log.last = last
        self._observer.set_segments((*earlier, LogSegment(self._fence)))
        self._earlier = earlier
        self._earlier_bytes = sum(segment.bytes or 0 for segment in earlier)
        for path in unused:
            path.unlink(missing_ok=True)
        if restored is not None:
            self._resumed_at = restored.next_index
            self._earlier_counts = restored.counts
            self._report("resuming")

    def _load_state(self, state: ResumeState, last: int) -> tuple[RunState | None, list[Path]]:
        """Restore the latest usable state of earlier attempts; return it and the files that are of no more use."""
        fences = self._files.attempts("state", before=self._fence)
        for fence in fences:
            if restored := state.restore(last, self._files.state(fence)):
                return restored, [self._files.state(other) for other in fences if other != fence]
        logs = self._files.attempts("frames", before=self._fence)
        return None, [*map(self._files.state, fences), *map(self._files.mask_log, logs)]

    def _review_earlier(self, run: Segmentation, end: int) -> None:
        """Add the frames of the earlier attempts to the review. By the first new mask, their cuts are known again."""
        for line in MaskLogView(self._files, self._earlier or ()).iter_lines():
            if line["index"] < end:
                facts = facts_of_line(line, run.prompt.prompt.object_ids, run.info)
                run.add_to_review(line["index"], MaskSource(line["source"]), facts)

    def _check_frame(self, frame: CompressedFrame) -> None:
        """Enforce the limit of frames, and report before the first mask too, so the job can be stopped at any time."""
        if frame.index >= self._max_frames:
            raise TooManyFramesError(f"the video has more than the {self._max_frames} frames allowed")
        if not self._new:
            self._report("resuming" if self.resumed else "segmenting")

    def _write(self, mask: FrameMask, log: MaskLog, state: ResumeState) -> None:
        began = time.monotonic()
        self._observer.check_claim()
        log.append(mask)
        if self._earlier_bytes + log.size > self._max_mask_bytes:
            raise MasksTooLargeError(
                f"the masks up to frame {mask.index} take more than the {self._max_mask_bytes:,} bytes allowed; choose "
                "a range of frames with start and end, or mark fewer objects"
            )
        self._new += 1
        state.save_if_due()
        self._write_seconds += time.monotonic() - began

    def _report(self, stage: str) -> None:
        fps = self._new / (time.monotonic() - self._began) if self._new else None
        done, total = self._done, self._total
        # The number of frames of a long video is an estimate until all of it has been read.
        total = None if total is None else max(done, total)
        self._observer(JobProgress(done, total, stage, fps and round(fps, 2), self._seconds), self.stats)
        if self._seconds > self._max_seconds:
            raise JobTimeoutError(
                f"the job has run for {self._max_seconds:g} seconds, the time allowed for all attempts"
            )

    def _finish(self, run: Segmentation) -> JobOutcome:
        """Write the report. The job may be called succeeded from here on."""
        done, options = self._done, self._job.options
        # The path of the weights is internal to the server; their digest identifies them.
        model = {name: value for name, value in run.model.description.items() if name != "weights"}
        seconds = {"write": self._write_seconds, "total": time.monotonic() - self._began}
        report = replace(run.report(seconds, resumed_at=self._resumed_at), model=model).to_json()
        # HTTP clients also read these names.
        report |= {"codec": run.bitstream.to_json(run.info), "frames": run.stats.total}
        report["options"]["model"] = options.model
        write_durably(self._files.report(self._fence), (json.dumps(report, indent=2) + "\n").encode())
        fps = self._new / max(1e-6, time.monotonic() - self._began)
        progress = JobProgress(done, done, "finished", round(fps, 2), self._seconds)
        return JobOutcome(report, progress, run.bitstream.frames if options.end is None else None)

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

    def _fingerprint(self, model: LoadedModel) -> str:
        """Return a digest of everything that the masks depend on."""
        about = [self._job.payload_sha256, self._job.options.model_dump(), model.description]
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
