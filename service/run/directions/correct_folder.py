"""Correct a folder of results of `keymask run` in place; the version before is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from codec.reader import read_info
from codec.types import VideoInfo
from service.config import Settings
from service.errors import UsageError
from service.prompts.read_prompt import read_prompt
from service.prompts.shapes import ShapePrompt, Shapes
from service.prompts.stored_prompts import StoredPrompts, given_mask
from service.run.directions.resegment import Correction, resegment
from service.run.directions.result_folder import ResultFolder
from service.run.directions.rewritten_exports import RewrittenExports, outputs_of, rewrite_exports
from service.run.directions.stored_soft import StoredSoft
from service.run.model_loader import ModelLoader, load_model
from service.run.options import RunOptions
from service.run.outputs import unchanged_files
from service.run.resume.unfinished_run import UnfinishedRun
from service.run.review.correction_review import CorrectionReview
from service.writers.png import encode_mask, mask_name
from service.writers.report import ReportWriter
from vos.runtime.durable import replacing, write_durably
from vos.types import FrameMask


@dataclass(frozen=True, slots=True)
class CorrectRequest:
    """A correction that a user asks for.

    Attributes:
        folder: Folder of results.
        masks: Frame -> picture or array file with the objects of the frame.
        object: The object that all of these masks are of; None if they hold objects as a prompt does.
        absent: Frames in which this object is not.
        video: The video, if it is no longer where it was.
        device: Device to run on.
    """

    folder: Path
    masks: Mapping[int, Path]
    object: int | None = None
    absent: tuple[int, ...] = ()
    video: Path | None = None
    device: str = "auto"


def correct_folder(
    request: CorrectRequest,
    settings: Settings,
    *,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
    load: ModelLoader = load_model,
) -> dict[str, Any]:
    """Correct a result; nothing is written before all masks that change are computed.

    Args:
        request: What to correct.
        settings: Where pulled weights lie, and limits.
        on_progress: Called after each mask that was computed, with their number.
        load: Loads the network.

    Returns:
        The new report, without its entries of frames.

    Raises:
        CodecError: The video cannot be read.
        VosError: A prompt or the weights cannot be used.
        ServiceError: There is no result, or a mask file cannot be used.
    """
    started = perf_counter()
    folder = ResultFolder(request.folder)
    UnfinishedRun(folder.folder, folder.masks).check_unlocked()
    video = request.video or Path(folder.report["video"]["path"])
    if not video.exists():
        raise UsageError(f"the video {video} of this result is gone; say with --video where it is")
    outputs = outputs_of(folder.folder, folder.report)
    soft = _unchanged(outputs.exports.get("npz"), folder)
    options = _options_of(folder.report, request.device).model_copy(update={"soft": soft is not None})
    earlier = folder.prompts().merged
    prompts = StoredPrompts(new=_shapes_of(request, video, options), earlier=earlier)
    with ExitStack() as stack:
        run = stack.enter_context(resegment(video, folder, earlier, prompts.new, options, settings=settings, load=load))
        if soft is not None:
            folder.soft = stack.enter_context(closing(StoredSoft(soft, run.info)))
        for done, mask in enumerate(run, 1):
            run.masks.change(mask)
            on_progress(done, None)
        exports = rewrite_exports(
            outputs,
            folder.report,
            lambda: _masks(folder, run),
            video=video,
            info=run.info,
            objects=tuple(item.object for item in run.objects),
            options=options,
        )
        folder.soft = None  # only exports have soft masks
        try:
            return _write(folder, prompts, run, exports, started)
        finally:
            exports.discard()


def _unchanged(path: Path | None, folder: ResultFolder) -> Path | None:
    """Return a file of the result, None if there is none or it was changed or moved since."""
    return path if path is not None and path.resolve() in unchanged_files(folder.report) else None


def _masks(folder: ResultFolder, run: Correction) -> Iterator[FrameMask]:
    """Yield all masks of the corrected result, in presentation order."""
    for index in sorted({*folder.indices, *run.masks.indices}):
        mask = run.masks.mask(index)
        assert mask is not None
        yield mask


def _write(
    folder: ResultFolder, prompts: StoredPrompts, run: Correction, exports: RewrittenExports, started: float
) -> dict[str, Any]:
    """Keep the version before, then replace masks, exports, prompts and, last, the report."""
    version = folder.keep_version(exports.files)
    new = set(run.masks.indices)
    review = CorrectionReview(prompts.merged, folder.report)
    writer = ReportWriter(folder.folder / "report.json")
    with closing(writer):
        for mask in _masks(folder, run):
            if mask.index in new:
                with replacing(folder.masks / mask_name(mask.index)) as file:
                    file.write(encode_mask(mask.labels))
            writer.write(mask)
            review.add_mask(mask, is_new=mask.index in new)
        exports.replace()
        write_durably(folder.folder / "corrections.json", prompts.to_json())
        report = folder.report | review.entries(prompts.frames, version_before=version)
        report |= {
            "model": run.model.description,
            "seconds": {"total": round(perf_counter() - started, 4)},
            "notes": list(dict.fromkeys([*folder.report["notes"], *run.notes, *exports.notes])),
            "written": outputs_of(folder.folder, folder.report).written(),
        }
        writer.finish(report)
    return report


def _shapes_of(request: CorrectRequest, video: Path, options: RunOptions) -> Shapes:
    """Read the masks of a correction."""
    if request.absent and request.object is None:
        raise UsageError("--absent says where an object is not; say with --object which one")
    if not request.masks and not request.absent:
        raise UsageError("nothing is corrected: give --prompt FRAME=FILE, or --absent FRAME with --object N")
    info = _info(video)
    shapes = [ShapePrompt(frame=frame, object=request.object or 1, absent=True) for frame in request.absent]
    for frame, path in request.masks.items():
        mode = options.mask_mode if request.object is None else "binary"
        read = read_prompt(path, info, frame, mode)
        labels = read.prompt.labels
        numbers = read.prompt.object_ids if request.object is None else (request.object,)
        shapes += [given_mask(labels == n if request.object is None else labels > 0, frame, n) for n in numbers]
    return tuple(shapes)


def _info(video: Path) -> VideoInfo:
    if video.is_file():
        return read_info(video)
    from service.run.source.video_input import open_input  # noqa: PLC0415

    with closing(open_input(video)[0]) as reader:
        return reader.info


def _options_of(report: Mapping[str, Any], device: str) -> RunOptions:
    """Return the options of the run that made a result."""
    chosen = {name: value for name, value in report["options"].items() if name in RunOptions.model_fields}
    model = {name: report["model"][name] for name in ("weights", "refine") if name in report["model"]}
    return RunOptions.checked(**chosen | model | {"device": device})
