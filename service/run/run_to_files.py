"""One job, start to end: open the video, read the mask, segment, hand every mask to the writers, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

from codec.reader import open_video
from codec.types import VideoInfo
from service.config import Settings
from service.errors import RunError, UsageError, message_of
from service.run.bitstream_stats import BitstreamStats
from service.run.model_loader import LoadedModel, ModelChoice, ModelLoader, load_model
from service.run.outputs import Outputs
from service.run.prompt_mask import read_mask
from service.run.report import Summary
from service.writers.ndjson import RleWriter
from service.writers.overlay import OverlayWriter
from service.writers.png import PngWriter
from service.writers.report import ReportWriter
from service.writers.writer import ResultWriter
from vos.types import FrameMask, Options, Prompt

LEAST_SIDE = 16
"""Least `max_side` in pixels: one cell of the network's features."""

ProgressCallback: TypeAlias = Callable[[int, int | None], None]
"""Called with the number of frames written and the number expected (None if unknown) after each frame."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a user asks for.

    Attributes:
        video: The video to segment.
        mask: PNG with the objects of the prompt's frame.
        outputs: Where to write.
        options: How to segment.
        prompt_frame: Presentation index of the frame that the mask belongs to.
        model: Which network.
        motion: Where motion comes from: "auto", "bitstream" or "proxy".
        max_side: Longest side in pixels of the picture that is analysed; None leaves the short side at 480.
        force: Replace an earlier result.
    """

    video: Path
    mask: Path
    outputs: Outputs
    options: Options = field(default_factory=Options)
    prompt_frame: int = 0
    model: ModelChoice = field(default_factory=ModelChoice)
    motion: str = "auto"
    max_side: int | None = None
    force: bool = False

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that are read."""
        weights = self.model.weights
        return (self.video, self.mask) if weights is None else (self.video, self.mask, Path(weights))


def run_to_files(
    request: RunRequest,
    settings: Settings,
    *,
    on_progress: ProgressCallback = lambda _done, _total: None,
    load: ModelLoader = load_model,
) -> Summary:
    """Do the job. What is written stays when it fails in the middle; the report then says `complete: false` and why.

    Nothing is written before the first mask exists, so bad input leaves no trace.

    Raises:
        CodecError: The video cannot be read, or breaks in the middle.
        VosError: The mask, an option or the weights cannot be used.
        ServiceError: The mask file cannot be used, or an output is in the way.
    """
    started = perf_counter()
    if request.max_side is not None and request.max_side < LEAST_SIDE:
        raise UsageError(f"max_side is {request.max_side}; it must be at least {LEAST_SIDE}")
    request.outputs.check(request.inputs, request.force)
    with open_video(request.video, max_side=request.max_side, motion=request.motion) as reader:
        prompt = Prompt(
            read_mask(request.mask, reader.info.display_width, reader.info.display_height), request.prompt_frame
        )
        opened = perf_counter()
        engine = load(request.model, request.options, settings)
        loaded = perf_counter()
        tally = BitstreamStats()
        masks = engine.segmenter.run(tally.watch(reader), reader.info, prompt)
        first = next(masks, None)
        if first is None:
            raise RunError(f"{request.video} gave no frame to segment")
        job = _Job(request, reader.info, engine, tally)
        job.seconds = {"open": opened - started, "load": loaded - opened}
        return job.write_all(chain((first,), masks), on_progress, started)


class _Job:
    """A job whose first mask is there."""

    def __init__(self, request: RunRequest, info: VideoInfo, engine: LoadedModel, tally: BitstreamStats) -> None:
        self._request = request
        self._info = info
        self._engine = engine
        self._tally = tally
        self._notes: list[str] = []
        self.seconds: dict[str, float] = {}

    def write_all(self, masks: Iterator[FrameMask], on_progress: ProgressCallback, started: float) -> Summary:
        """Write every mask, then the report, also when the masks end with an error."""
        self._request.outputs.clear()
        report = ReportWriter(self._request.outputs.report)
        error: BaseException | None = None
        try:
            self._write_masks(masks, report, on_progress)
        except BaseException as caught:
            error = caught
            raise
        finally:
            self.seconds["total"] = perf_counter() - started
            summary = self._summary(error)
            report.finish(summary.to_json())
        return summary

    def _write_masks(self, masks: Iterator[FrameMask], report: ReportWriter, on_progress: ProgressCallback) -> None:
        total = self._expected_frames()
        writing = 0.0
        with ExitStack() as stack:
            writers: list[ResultWriter] = [report]
            for writer in self._open_writers():
                stack.callback(writer.close)
                writers.append(writer)
            for done, frame in enumerate(masks, 1):
                began = perf_counter()
                for writer in writers:
                    writer.write(frame)
                writing += perf_counter() - began
                self.seconds["write"] = writing
                on_progress(done, total)

    def _open_writers(self) -> Iterator[ResultWriter]:
        outputs = self._request.outputs
        yield PngWriter(outputs.masks)
        if outputs.rle is not None:
            yield RleWriter(outputs.rle)
        if outputs.overlay is not None:
            overlay = OverlayWriter(self._request.video, outputs.overlay, self._info)
            self._notes += overlay.notes
            yield overlay

    def _expected_frames(self) -> int | None:
        options, header = self._request.options, self._info.frames_from_header
        ends = [end for end in (options.end, header) if end is not None]
        start = self._request.prompt_frame if options.start is None else options.start
        return max(1, min(ends) - start) if ends else None

    def _options(self) -> dict[str, Any]:
        request = self._request
        chosen = {"prompt_frame": request.prompt_frame, "motion": request.motion, "max_side": request.max_side}
        return asdict(request.options) | chosen

    def _summary(self, error: BaseException | None) -> Summary:
        return Summary(
            video=str(self._request.video),
            codec=self._tally.report(self._info),
            model=self._engine.description,
            options=self._options(),
            stats=self._engine.segmenter.stats,
            seconds=self.seconds,
            outputs=self._request.outputs,
            notes=tuple(self._notes),
            error=None if error is None else message_of(error),
        )
