"""One attempt at a correction: compute the frames that it can change, and take all other masks from its parent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from codec.types import VideoInfo
from service.engine.attempts.attempt import Attempt, JobOutcome, public_description, stage_with_share
from service.prompts.stored_prompts import StoredPrompts
from service.run.directions.resegment import Correction, resegment
from service.run.directions.stored_masks import IndexedMaskLines
from service.run.options import RunOptions
from service.run.review.correction_review import CorrectionReview
from service.storage.correction_files import ParentMasks, read_parent, read_prompts
from service.storage.mask_log import MaskLog
from service.writers.mask_line import index_of, parse_line
from vos.types import FrameMask, MaskSource, Stats


class CorrectionRun(Attempt):
    """Writes the masks of a correction: those of its parent, with the frames that change in place of theirs.

    After an attempt that was cut off, the next one copies the masks of the parent again, and goes on with the walks.

    Args:
        arguments: As for `Attempt`.
        compute: Computes the frames that change.
    """

    def __init__(self, *arguments: Any, compute: Callable[..., Correction] = resegment) -> None:
        super().__init__(*arguments)
        self._compute = compute
        self._computed: Counter[MaskSource] = Counter()
        self._run: Correction | None = None

    def run(self) -> JobOutcome:
        """Run the correction.

        Raises:
            CodecError, VosError, ServiceError: The job fails.
        """
        self._report("loading")
        self._fetch()
        parent, prompts = read_parent(self._files), read_prompts(self._files)
        assert prompts is not None, "a correction has stored prompts"
        masks = IndexedMaskLines(parent.lines)
        run = self._compute(
            self._files.video,
            masks,
            prompts.earlier,
            prompts.new,
            RunOptions(**self._job.options.model_dump(exclude={"model", "mask_mode"})),
            rest_from=None if parent.is_whole else masks.end,
            load=lambda _choice, options, _settings: self._load(options),
            on_frame=self._check_frame,
        )
        log = MaskLog(self._files.mask_log(self._fence))
        with run, closing(log), closing(iter(run)) as changes:
            self._keep(())
            self._run, self._log = run, log
            run.keep_walks(self._store_walks(log, run.model).walk)
            review = CorrectionReview(prompts.merged, parent.report)
            try:
                for item in merged(_lines(parent), changes):
                    self._observer.check_claim()
                    self._write(item, log, review, run.info)
                    self._check_size(log)
                    self._publisher.publish_if_due(log)
                    self._new += 1
                    self._report("segmenting")
            finally:
                self._end(log)
            return self._finish(run, parent, prompts, review)

    @property
    def stats(self) -> Stats | None:
        """Frames that this attempt has computed so far, None before the first one."""
        return Stats(dict(self._computed), {}) if self._computed else None

    @property
    def _stage(self) -> str:
        """What the attempt is doing before its first mask, which comes after the walk back."""
        done, total = (0, None) if self._run is None else self._run.steps
        return stage_with_share("propagating backwards", done, total) if total else super()._stage

    def _write(self, item: bytes | FrameMask, log: MaskLog, review: CorrectionReview, info: VideoInfo) -> None:
        """Write a line of the parent as it is, or a new mask."""
        if isinstance(item, bytes):
            line = parse_line(item)
            log.copy(line["index"], item)
            review.add_line(line, info)
            return
        log.append(item)
        review.add_mask(item, is_new=True)
        self._computed[item.source] += 1

    def _finish(
        self, run: Correction, parent: ParentMasks, prompts: StoredPrompts, review: CorrectionReview
    ) -> JobOutcome:
        """Write the report: that of the parent, with what has changed. The job may be called succeeded from here on."""
        stats = review.stats
        before = parent.report if parent.is_whole else self._first_report(run)
        report = {
            **before,
            **review.entries(prompts.frames, corrects=self._job.corrects),
            "model": public_description(run.model),
            "prompt": [item.to_json(self._job.options.labels) for item in self._job.prompt],
            "frames": stats.total,
            "key_share": round(stats.key_share, 4),
            "network_runs": stats.network_runs,
            "network_runs_saved": stats.segmented - stats.network_runs,
            "fps": self._fps,
            "seconds": {"total": round(time.monotonic() - self._began, 4)},
            "resumed": self.resumed,
            "notes": [*parent.report.get("notes", []), *run.notes],
        }
        return self._finished(report, None)

    def _first_report(self, run: Correction) -> dict[str, Any]:
        """Return what the parent, which has none, would report."""
        report = run.report({"write": 0.0, "total": 0.0}).to_json()
        report["codec"] = run.bitstream.to_json(run.info)
        report["options"]["model"] = self._job.options.model
        return report


def merged(lines: Iterator[bytes], changed: Iterator[FrameMask]) -> Iterator[bytes | FrameMask]:
    """Yield lines in presentation order, with masks of their frames, or of frames between them, in their place."""
    mask = next(changed, None)
    for line in lines:
        index = index_of(line)
        while mask is not None and mask.index < index:
            yield mask
            mask = next(changed, None)
        if mask is not None and mask.index == index:
            yield mask
            mask = next(changed, None)
        else:
            yield line
    while mask is not None:
        yield mask
        mask = next(changed, None)


def _lines(parent: ParentMasks) -> Iterator[bytes]:
    """Yield the lines of the parent's masks, without their newlines."""
    for path, size in parent.lines:
        with path.open("rb") as file:
            end = 0
            for line in file:
                end += len(line)
                if end > size or not line.endswith(b"\n"):
                    break
                yield line.rstrip(b"\n")
