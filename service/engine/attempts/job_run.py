"""One attempt at a job in a worker: segment the video, write masks to the log, report progress."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from service.engine.attempts.attempt import Attempt, JobOutcome, public_description, stage_with_share
from service.engine.reporting import DrainedError
from service.run.options import RunOptions
from service.run.resume.save_schedule import tolerate
from service.run.resume.state import ResumeState
from service.run.review.reviewer import facts_of, facts_of_line
from service.run.segment import Segmentation, segment
from service.storage.correction_files import read_prompts
from service.storage.mask_log import MaskLog, settle
from service.storage.mask_log_view import MaskLogView
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource, Stats


class JobRun(Attempt):
    """Segments the video of a job.

    Args:
        arguments: As for `Attempt`.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._run: Segmentation | None = None
        self._write_seconds = 0.0
        self._earlier_counts: Mapping[MaskSource, int] = {}
        self._resumed_at: int | None = None

    def run(self) -> JobOutcome:
        """Run the job. Masks that are written stay, however the run ends.

        Raises:
            CodecError, VosError, ServiceError: The job fails.
        """
        self._report("loading")
        self._fetch()
        stored = read_prompts(self._files)
        run = segment(
            self._files.video,
            self._files.mask if stored is None else stored.new,
            RunOptions(**self._job.options.model_dump(exclude={"model"} if stored is None else {"model", "mask_mode"})),
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
                min_seconds=self._limits.state_seconds,
                sync=partial(self._sync, log),
                on_saved=self._publisher.publish_state,
            )
            self._restore(state, log)
            if run.walks_back:
                run.keep_walk(self._store_walks(log, run.model).walk(0))
            try:
                for mask in run:
                    if self._resumed_at is not None and not self._new:
                        self._review_earlier(run, self._resumed_at)
                    run.add_to_review(mask.index, mask.source, facts_of(mask))
                    self._write(mask, log, state)
                    self._report("segmenting")
            except DrainedError:
                self._observer.check_claim()
                tolerate(state.save)
                raise
            finally:
                self._end(log)
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
        return self._resumed_at is not None or super().resumed

    @property
    def _stage(self) -> str:
        """What the attempt is doing before its first mask; `done` counts masks, so it says nothing of a walk back."""
        done, total = (0, 0) if self._run is None else self._run.back_steps
        return stage_with_share("propagating backwards", done, total) if 0 < done < total else super()._stage

    def _restore(self, state: ResumeState, log: MaskLog) -> None:
        """Resume where an earlier attempt stopped, if possible, and decide what counts of the mask log."""
        earlier, last = settle(self._files, self._job.segments)
        restored, unused = self._load_state(state, max(last, self._job.options.first_frame - 1))
        if restored is None:
            earlier = ()
        else:
            log.last = last
        self._keep(earlier)
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
                facts = facts_of_line(line, run.object_ids, run.info)
                run.add_to_review(line["index"], MaskSource(line["source"]), facts)

    def _write(self, mask: FrameMask, log: MaskLog, state: ResumeState) -> None:
        began = time.monotonic()
        self._observer.check_claim()
        log.append(mask)
        self._check_size(log)
        self._new += 1
        self._publisher.publish_if_due(log)
        tolerate(state.save_if_due)
        self._write_seconds += time.monotonic() - began

    def _finish(self, run: Segmentation) -> JobOutcome:
        """Write the report. The job may be called succeeded from here on."""
        options = self._job.options
        seconds = {"write": self._write_seconds, "total": time.monotonic() - self._began}
        report = replace(
            run.report(seconds, resumed_at=self._resumed_at), model=public_description(run.model)
        ).to_json()
        # HTTP clients also read these names.
        report |= {"codec": run.bitstream.to_json(run.info), "frames": run.stats.total, "resumed": self.resumed}
        report["options"]["model"] = options.model
        return self._finished(report, run.bitstream.frames if options.end is None else None)
