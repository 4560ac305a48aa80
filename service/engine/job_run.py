"""One job in a worker, start to end: open, go on from what is there, segment, write masks, report."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from codec.reader import open_video
from codec.types import VideoInfo
from service.engine.reporting import DrainedError
from service.errors import RunError, TooManyFramesError
from service.jobs.types import Job, JobProgress
from service.run.bitstream_stats import BitstreamStats
from service.run.model_loader import LoadedModel
from service.run.prompt_mask import read_mask
from service.storage.job_files import JobFiles
from service.storage.mask_log import MaskLog
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource, Options, Prompt, Stats

_STATE_SHARE = 0.02
"""Most share of a job's time that storing states may take."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished job.

    Attributes:
        report: Summary as JSON values.
        progress: All of it.
        frames: How many the video has, None if it was not read to its end.
        resumed: Whether it went on from stored masks.
    """

    report: dict[str, Any]
    progress: JobProgress
    frames: int | None
    resumed: bool


class Task:
    """Runs one job.

    Args:
        job: What to do.
        files: Where its files are.
        load: Gives the engine for the job's options.
        observe: Is called after every step with the progress and the stats; it may raise to stop the job.
        state_seconds: Least time from one stored state to the next.
        max_frames: Most frames of a video; of a long one the upload was not read to its end.
    """

    def __init__(
        self,
        job: Job,
        files: JobFiles,
        load: Callable[[Options], LoadedModel],
        observe: Callable[[JobProgress, Stats | None], None],
        *,
        state_seconds: float,
        max_frames: int,
    ) -> None:
        self._job = job
        self._files = files
        self._load = load
        self._observe = observe
        self._state_seconds = state_seconds
        self._max_frames = max_frames
        self._engine: LoadedModel | None = None
        self._log: MaskLog | None = None
        self._fingerprint = ""
        self._began = time.monotonic()
        self._new = 0
        self._writing = 0.0
        self._store_at = 0.0
        self._before: Mapping[MaskSource, int] = {}
        self.resumed = False

    def run(self) -> Outcome:
        """Do the job. Masks that are written stay, whatever happens.

        Raises:
            CodecError, VosError, ServiceError: The job cannot be done.
        """
        chosen = self._job.options
        self._tell("loading")
        with open_video(self._files.video, max_side=chosen.max_side) as reader:
            info = reader.info
            prompt = Prompt(read_mask(self._files.mask, info.display_width, info.display_height), chosen.prompt_frame)
            options = Options(
                chosen.keyframes,
                chosen.start,
                chosen.end,
                quality=chosen.quality,
                max_key_share=chosen.max_key_share,
            )
            engine = self._engine = self._load(options)
            self._fingerprint = self._make_fingerprint(engine)
            tally = BitstreamStats()
            with closing(MaskLog(self._files.mask_log)) as log:
                self._log = log
                state = self._recover(log)
                try:
                    for mask in engine.segmenter.run(self._watch(tally, reader), info, prompt, state):
                        self._keep(mask)
                except DrainedError:
                    self._save_state()
                    raise
                done = self._done
            if not done:
                raise RunError("the video gave no frame to segment")
            return self._finish(engine, tally, info, done)

    @property
    def stats(self) -> Stats | None:
        """What this attempt cost so far, None before its first mask."""
        if self._engine is None or not self._new:
            return None
        whole = self._engine.segmenter.stats
        return Stats({s: n - self._before.get(s, 0) for s, n in whole.frames.items()}, whole.seconds)

    def forget_state(self) -> None:
        """Remove what only serves to go on."""
        for path in (self._files.state, self._files.state.with_name(self._files.state.name + ".part")):
            path.unlink(missing_ok=True)

    def _save_state(self) -> None:
        """Store where the run stands, if it has begun."""
        state = self._engine.segmenter.state if self._engine else None
        if state is not None and self._log is not None:
            self._log.sync()  # the state must never be ahead of the masks
            state.save(self._files.state, self._fingerprint)

    def _recover(self, log: MaskLog) -> RunState | None:
        """Where an earlier attempt stood; without that knowledge its masks are dropped too."""
        state = RunState.load(self._files.state, self._fingerprint)
        if state is not None and state.next_index - 1 <= max(log.last, self._first - 1):
            self.resumed = True
            self._before = state.counts
            self._tell("resuming")
            return state
        log.clear()
        return None

    def _watch(self, tally: BitstreamStats, frames: Any) -> Iterator[Any]:
        """Pass frames on; also while no mask comes out of them, the job is alive and can be stopped."""
        for frame in tally.watch(frames):
            if frame.index >= self._max_frames:
                raise TooManyFramesError(f"the video has more than the {self._max_frames} frames allowed")
            if not self._new:
                self._tell("resuming" if self.resumed else "segmenting")
            yield frame

    def _keep(self, mask: FrameMask) -> None:
        assert self._log is not None
        began = time.monotonic()
        self._log.append(mask)
        self._new += 1
        written = time.monotonic()
        if self._new == 1:  # there is little to lose yet, and somebody waits for this mask
            self._store_at = written + self._state_seconds
        if written >= self._store_at:
            self._save_state()
            spent = time.monotonic() - written
            self._store_at = written + max(self._state_seconds, spent / _STATE_SHARE)
        self._writing += time.monotonic() - began
        self._tell("segmenting")

    def _tell(self, stage: str) -> None:
        fps = self._new / (time.monotonic() - self._began) if self._new else None
        done, total = self._done, self._total
        # Of a long video the number of frames is an estimate until it has been read.
        total = None if total is None else max(done, total)
        self._observe(JobProgress(done, total, stage, fps and round(fps, 2)), self.stats)

    def _finish(self, engine: LoadedModel, tally: BitstreamStats, info: VideoInfo, done: int) -> Outcome:
        stats = engine.segmenter.stats
        report = {
            "complete": True,
            "codec": tally.report(info),
            # Where the weights lie is the server's affair; their digest says which they are.
            "model": {name: value for name, value in engine.description.items() if name != "weights"},
            "options": asdict(self._job.options),
            "frames": stats.total,
            "sources": {str(source): count for source, count in stats.frames.items()},
            "key_share": round(stats.key_share, 4),
            "seconds": {stage: round(spent, 3) for stage, spent in stats.seconds.items()}
            | {"write": round(self._writing, 3), "total": round(time.monotonic() - self._began, 3)},
            "resumed": self.resumed,
        }
        part = self._files.report.with_suffix(".part")
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        part.replace(self._files.report)
        self.forget_state()
        fps = self._new / max(1e-6, time.monotonic() - self._began)
        progress = JobProgress(done, done, "finished", round(fps, 2))
        return Outcome(report, progress, tally.frames if self._job.options.end is None else None, self.resumed)

    @property
    def _done(self) -> int:
        """Masks in the file; they are consecutive."""
        return 0 if self._log is None else max(0, self._log.last - self._first + 1)

    @property
    def _first(self) -> int:
        options = self._job.options
        return options.prompt_frame if options.start is None else options.start

    @property
    def _total(self) -> int | None:
        ends = [end for end in (self._job.options.end, self._job.video.frames) if end is not None]
        return max(1, min(ends) - self._first) if ends else None

    def _make_fingerprint(self, engine: LoadedModel) -> str:
        """Changes with everything that the masks depend on."""
        about = [self._job.payload_sha256, asdict(self._job.options), engine.description]
        return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
