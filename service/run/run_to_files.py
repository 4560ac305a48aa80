"""Segment a video into files: masks, report, and if wanted an overlay and annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

from codec.errors import CodecError
from codec.types import CompressedFrame
from service.config import Settings
from service.errors import UsageError, message_of
from service.prompts.read_prompt import ReadPrompt
from service.prompts.shapes import Shapes
from service.run.model_loader import ModelLoader, load_model
from service.run.options import RunOptions
from service.run.outputs import Outputs, material_of, results_of_another_run
from service.run.report import Report
from service.run.resume.fingerprint import digest_of, fingerprint_of_report
from service.run.resume.unfinished_run import ResumableRun, UnfinishedRun
from service.run.review.reviewer import facts_of
from service.run.segment import Segmentation, segment
from service.writers.formats import FORMATS, need_soft
from service.writers.ndjson import RleWriter
from service.writers.png import PngWriter, encode_mask
from service.writers.report import ReportWriter
from service.writers.video.film import FilmWriter
from service.writers.writer import ResultWriter
from vos.runtime.durable import sync_files
from vos.types import FrameMask

ProgressCallback: TypeAlias = Callable[[int, int | None], None]
"""Called after each frame with the number of masks written and the number expected, None if unknown.

Where masks are propagated both ways, it is called with the numbers of frames read in either direction."""


_STATE_SECONDS = 2.0
"""Shortest time between two saved resume states."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run that a user asks for.

    Attributes:
        video: Video file, or folder of pictures.
        mask: Picture or array file with the objects of the prompt frame, or boxes and points from which their mask is
            made; or either by frame.
        outputs: Where to write.
        options: How to segment.
        force: Whether to replace an earlier result.
        resume: Whether to continue a run of the same request that was cut off.
    """

    video: Path
    mask: Path | Shapes | Mapping[int, Path | Shapes]
    outputs: Outputs
    options: RunOptions = field(default_factory=RunOptions)
    force: bool = False
    resume: bool = False

    def fingerprint(self) -> str:
        """Read the inputs and return a digest of everything that the masks depend on, except the network's weights."""
        given = self._by_frame
        shapes = {frame: None if isinstance(part, Path) else part for frame, part in given.items()}
        alone = next(iter(shapes.values())) if len(shapes) == 1 else shapes
        return digest_of(self.inputs, alone, self.options.model_dump(exclude={"soft"}))  # only files depend on it

    @property
    def all_options(self) -> RunOptions:
        """The options, with what the outputs need."""
        return self.options.model_copy(update={"soft": True}) if need_soft(self.outputs.formats) else self.options

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that are read."""
        masks = [part for part in self._by_frame.values() if isinstance(part, Path)]
        weights = () if self.options.weights is None else (Path(self.options.weights),)
        return (self.video, *masks, *weights)

    @property
    def _by_frame(self) -> Mapping[int, Path | Shapes]:
        return self.mask if isinstance(self.mask, Mapping) else {self.options.prompt_frame: self.mask}


def run_to_files(
    request: RunRequest,
    settings: Settings,
    *,
    on_prompt: Callable[[ReadPrompt], None] = lambda _prompt: None,
    on_progress: ProgressCallback = lambda _done, _total: None,
    on_state: Callable[[], None] = lambda: None,
    load: ModelLoader = load_model,
    state_seconds: float = _STATE_SECONDS,
) -> Report:
    """Run a request. After an error in the middle, what was written stays; the report says `complete: false` and why.

    Nothing is written before the first mask exists, so bad input leaves no trace. Then `on_prompt` is called with what
    was read from the mask. Until a run is finished, what a later one with `resume` needs to continue it lies beside its
    results, however it ends: an error, Ctrl-C, a lost machine.

    Args:
        request: What to segment and where to write.
        settings: Where pulled weights lie, and limits.
        on_prompt: Called with the prompt that was read.
        on_progress: Called after each frame.
        on_state: Called after a resume state was saved, when all that it counts on is in files.
        load: Loads the network.
        state_seconds: Shortest time between two saved resume states.

    Raises:
        CodecError: The video cannot be read, or breaks in the middle.
        VosError: The mask, an option or the weights cannot be used.
        ServiceError: The mask file cannot be used, or an output would overwrite a file.
    """
    started = perf_counter()
    unfinished, fingerprint = UnfinishedRun(request.outputs.folder, request.outputs.masks), request.fingerprint()
    unfinished.check_unlocked()
    request.outputs.check(request.inputs, request.force or _continues(request, fingerprint, unfinished))

    def on_frame(_frame: CompressedFrame) -> None:
        if run.walks_back:  # masks come only afterwards
            on_progress(*run.steps)

    segmentation = segment(
        request.video, request.mask, request.all_options, settings=settings, load=load, on_frame=on_frame
    )
    with (
        segmentation as run,
        closing(
            ResumableRun(unfinished, run, fingerprint, state_seconds, request.resume, on_state=on_state)
        ) as progress,
    ):
        masks = iter(run)
        try:
            first = next(masks, None)
        except CodecError:  # a walk back, which leaves traces, would break at the same frame again
            progress.remove()
            raise
        on_prompt(run.prompt)
        progress.begin()
        new = masks if first is None else chain((first,), masks)
        return _FileSink(request, fingerprint, run, started, progress).write(new, on_progress)


def _continues(request: RunRequest, fingerprint: str, unfinished: UnfinishedRun) -> bool:
    """Whether the request continues an earlier run of the same request, so that it may replace its files.

    Raises:
        UsageError: The folder holds results of another request, or a run to be continued with `resume`.
    """
    if not request.resume:
        if unfinished.fingerprint == fingerprint and not request.force:
            raise UsageError(
                f"{request.outputs.folder} has a run of this request that was cut off: continue it with --resume, or "
                "replace it with --force"
            )
        return False
    earlier = unfinished.fingerprint or fingerprint_of_report(request.outputs.report)
    if earlier not in (None, fingerprint) and not request.force:
        raise results_of_another_run(request.outputs.folder)
    return earlier is not None


def is_finished(request: RunRequest) -> bool:
    """Whether an earlier run of the same request has finished and written all files that are wanted now."""
    outputs = request.outputs
    if not all(path.exists() for path in outputs.files.values()):
        return False
    return fingerprint_of_report(outputs.report, complete=True) == request.fingerprint()


class _FileSink:
    """Writes the masks of a run whose first mask exists."""

    def __init__(
        self, request: RunRequest, fingerprint: str, run: Segmentation, started: float, progress: ResumableRun
    ) -> None:
        self._request = request
        self._fingerprint = fingerprint
        self._run = run
        self._started = started
        self._progress = progress
        self._films: list[FilmWriter] = []
        self._write_seconds = 0.0

    def write(self, masks: Iterator[FrameMask], on_progress: ProgressCallback) -> Report:
        """Write every mask, then the report, also when the masks end with an error."""
        outputs = self._request.outputs
        if self._progress.resumed_at is None:
            outputs.clear(self._request.inputs)
        if outputs.prompt is not None:
            outputs.prompt.write_bytes(encode_mask(self._run.prompt.prompt.labels))
        writer = ReportWriter(outputs.report)
        error: BaseException | None = None
        try:
            self._write_masks(masks, writer, on_progress)
            self._sync()
        except BaseException as caught:
            error = caught
            raise
        finally:
            report = self._report(error)
            writer.finish(report.to_json())
            if error is None or isinstance(error, CodecError):  # a broken video would break at the same frame again
                self._progress.remove()
        return report

    def _write_masks(self, masks: Iterator[FrameMask], report: ReportWriter, on_progress: ProgressCallback) -> None:
        total, done = self._run.mask_count, count(1)
        with ExitStack() as stack:
            writers: list[ResultWriter] = [report]
            for writer in self._open_writers():
                stack.callback(writer.close)
                writers.append(writer)
            for frame in self._progress.earlier():
                self._write_frame(frame, writers)
                on_progress(next(done), total)
            writers.insert(0, PngWriter(self._request.outputs.masks))
            for frame in masks:
                self._write_frame(frame, writers)
                self._progress.write(frame)
                if not self._run.walks_back:
                    on_progress(next(done), total)

    def _sync(self) -> None:
        """Wait until all results are on the disk: a later run trusts a complete report and does not look at them."""
        self._progress.sync()
        sync_files(path for path in self._request.outputs.files.values() if path.is_file())

    def _write_frame(self, frame: FrameMask, writers: list[ResultWriter]) -> None:
        self._run.add_to_review(frame.index, frame.source, facts_of(frame))
        began = perf_counter()
        for writer in writers:
            writer.write(frame)
        self._write_seconds += perf_counter() - began

    def _open_writers(self) -> Iterator[ResultWriter]:
        request, outputs = self._request, self._request.outputs
        if outputs.rle is not None:
            yield RleWriter(outputs.rle)
        material = material_of(self._run, request.video, name=request.video.name)
        for name, path in outputs.formats.items():
            writer = FORMATS[name].open(path, material)
            if isinstance(writer, FilmWriter):
                self._films.append(writer)
            yield writer

    def _report(self, error: BaseException | None) -> Report:
        return self._run.report(
            {"write": self._write_seconds, "total": perf_counter() - self._started},
            video=str(self._request.video),
            outputs=self._request.outputs,
            notes=[note for film in self._films for note in film.notes],
            error=None if error is None else message_of(error),
            fingerprint=self._fingerprint,
            resumed_at=self._progress.resumed_at,
        )
