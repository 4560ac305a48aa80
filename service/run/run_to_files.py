"""Segment a video into files: masks, report, and if wanted an overlay and annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

from service.config import Settings
from service.errors import message_of
from service.prompts.read_prompt import ReadPrompt
from service.prompts.shapes import Shapes
from service.run.model_loader import ModelLoader, load_model
from service.run.options import RunOptions
from service.run.outputs import Outputs, look_of
from service.run.report import Report
from service.run.segment import Segmentation, segment
from service.writers.categories import Categories
from service.writers.coco import CocoWriter
from service.writers.ndjson import RleWriter
from service.writers.overlay import OverlayWriter
from service.writers.png import PngWriter, ZipWriter, encode_mask
from service.writers.report import ReportWriter
from service.writers.writer import ResultWriter
from service.writers.ytvis import YtvisWriter
from vos.types import FrameMask

ProgressCallback: TypeAlias = Callable[[int, int | None], None]
"""Called after each frame with the number of masks written and the number expected, None if unknown."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run that a user asks for.

    Attributes:
        video: Video file, or folder of pictures.
        mask: Picture or array file with the objects of the prompt frame, or boxes and points from which their mask is
            made.
        outputs: Where to write.
        options: How to segment.
        force: Whether to replace an earlier result.
    """

    video: Path
    mask: Path | Shapes
    outputs: Outputs
    options: RunOptions = field(default_factory=RunOptions)
    force: bool = False

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that are read."""
        mask = (self.mask,) if isinstance(self.mask, Path) else ()
        weights = () if self.options.weights is None else (Path(self.options.weights),)
        return (self.video, *mask, *weights)


def run_to_files(
    request: RunRequest,
    settings: Settings,
    *,
    on_prompt: Callable[[ReadPrompt], None] = lambda _prompt: None,
    on_progress: ProgressCallback = lambda _done, _total: None,
    load: ModelLoader = load_model,
) -> Report:
    """Run a request. After an error in the middle, what was written stays; the report says `complete: false` and why.

    Nothing is written before the first mask exists, so bad input leaves no trace. Then `on_prompt` is called with what
    was read from the mask.

    Raises:
        CodecError: The video cannot be read, or breaks in the middle.
        VosError: The mask, an option or the weights cannot be used.
        ServiceError: The mask file cannot be used, or an output would overwrite a file.
    """
    started = perf_counter()
    request.outputs.check(request.inputs, request.force)
    with segment(request.video, request.mask, request.options, settings=settings, load=load) as run:
        masks = iter(run)
        first = next(masks)
        on_prompt(run.prompt)
        return _FileSink(request, run, started).write(chain((first,), masks), on_progress)


class _FileSink:
    """Writes the masks of a run whose first mask exists."""

    def __init__(self, request: RunRequest, run: Segmentation, started: float) -> None:
        self._request = request
        self._run = run
        self._started = started
        self._overlay: OverlayWriter | None = None
        self._write_seconds = 0.0

    def write(self, masks: Iterator[FrameMask], on_progress: ProgressCallback) -> Report:
        """Write every mask, then the report, also when the masks end with an error."""
        outputs = self._request.outputs
        outputs.clear(self._request.inputs)
        if outputs.prompt is not None:
            outputs.prompt.write_bytes(encode_mask(self._run.prompt.prompt.labels))
        writer = ReportWriter(outputs.report)
        error: BaseException | None = None
        try:
            self._write_masks(masks, writer, on_progress)
        except BaseException as caught:
            error = caught
            raise
        finally:
            report = self._report(error)
            writer.finish(report.to_json())
        return report

    def _write_masks(self, masks: Iterator[FrameMask], report: ReportWriter, on_progress: ProgressCallback) -> None:
        total = self._run.mask_count
        with ExitStack() as stack:
            writers: list[ResultWriter] = [report]
            for writer in self._open_writers():
                stack.callback(writer.close)
                writers.append(writer)
            for done, frame in enumerate(masks, 1):
                began = perf_counter()
                for writer in writers:
                    writer.write(frame)
                self._write_seconds += perf_counter() - began
                on_progress(done, total)

    def _open_writers(self) -> Iterator[ResultWriter]:
        outputs, info = self._request.outputs, self._run.info
        size, names = (info.display_width, info.display_height), Categories(self._request.options.labels)
        about = {"description": "masks by keymask", "date_created": datetime.now(UTC).isoformat(timespec="seconds")}
        yield PngWriter(outputs.masks)
        if outputs.rle is not None:
            yield RleWriter(outputs.rle)
        if outputs.coco is not None:
            yield CocoWriter(outputs.coco, size, names, about)
        if outputs.ytvis is not None:
            yield YtvisWriter(outputs.ytvis, size, names, about)
        if outputs.png is not None:
            yield ZipWriter(outputs.png)
        if outputs.overlay is not None:
            self._overlay = OverlayWriter(self._request.video, outputs.overlay, info, look_of(self._request.options))
            yield self._overlay

    def _report(self, error: BaseException | None) -> Report:
        return self._run.report(
            {"write": self._write_seconds, "total": perf_counter() - self._started},
            video=str(self._request.video),
            outputs=self._request.outputs,
            notes=() if self._overlay is None else self._overlay.notes,
            error=None if error is None else message_of(error),
        )
