"""`keymask run`: segment one video."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import (
    STDOUT,
    JsonOption,
    compile_once,
    heeded_interrupts,
    json_path,
    progress_bar,
    text_console,
    write_json,
)
from service.cli.exports import EXPORTS, complete_export, parse_exports
from service.cli.options import run_options
from service.config import load_settings
from service.errors import UsageError
from service.run.options import RunOptions

if TYPE_CHECKING:
    from service.prompts.read_prompt import ReadPrompt
    from service.prompts.shapes import Shapes
    from service.run.run_to_files import RunRequest


@run_options()
def run_command(
    video: Annotated[
        Path, typer.Argument(help="Any video that FFmpeg reads, or a folder of numbered pictures.", show_default=False)
    ],
    *,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Picture of the objects in one frame (PNG, JPEG, BMP, WebP, TIFF or NPY), in the size in which the "
            "video is shown. Palette indices or grey values are object ids; otherwise each color is an object. Black "
            "is the background.",
            show_default=False,
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FRAME@]X,Y,W,H[:LABEL]",
            help="In place of --mask: a box around an object, in pixels of the frame that keymask frame writes. "
            "Repeat it for more objects, or with FRAME@ and the same label for the same object on another frame. The "
            "first mask that is made is written to prompt.png in --out.",
        ),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FRAME@]X,Y[,1|0];...[:LABEL]",
            help="Like --box: points on an object, and with ,0 beside it. A box gives a better outline.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAME=FILE",
            help="The mask of another frame, as for --mask, such as 120=fix.png; repeat it for more. Objects that it "
            "does not mark go on as they are.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for masks/ and report.json.", show_default=False)],
    overlay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a video with the masks drawn over it (.mp4).")
    ] = None,
    rle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write run-length encoded masks, one JSON line per frame."),
    ] = None,
    coco: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write COCO instances (.json).")] = None,
    ytvis: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write YouTube-VIS annotations (.json).")
    ] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the masks as one zip of PNGs.")] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT=FILE",
            help="Also write another format, such as matte=matte.mp4 or prores4444=cutout.mov; repeat it for more. "
            f"Formats: {', '.join(EXPORTS)}.",
            autocompletion=complete_export,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier result: all files that it wrote are removed.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue a run of this command that was cut off; do nothing if it is done."),
    ] = False,
    json_file: JsonOption = None,
    **values: Any,
) -> None:
    """Segment a video: one mask per frame from the mask of one frame."""
    from service.run.outputs import Outputs  # noqa: PLC0415 - av and cv2 are not needed for --help
    from service.run.run_to_files import RunRequest  # noqa: PLC0415
    from service.writers.formats import FORMATS  # noqa: PLC0415

    options = RunOptions.checked(**values)
    shapes, names = _shapes_of(mask, box or [], points or [])
    if names:
        options = RunOptions.checked(**values | {"labels": _joined(options.labels or {}, names)})
    masks = _masks_of(mask, prompt or [], options.prompt_frame)
    given, options = _on_frames(masks, shapes, options)
    made = out / "prompt.png" if isinstance(next(iter(given.values())), tuple) else None
    named = {"overlay": overlay, "coco": coco, "ytvis": ytvis, "png": png}
    exports = parse_exports(export or [], {name for name, path in named.items() if path is not None})
    if options.changes_overlay and overlay is None and "overlay" not in exports:
        raise UsageError("--opacity and --colors change the overlay; give --overlay FILE too")
    if options.changes_polygons and "polygons" not in exports:
        raise UsageError("--polygon-tolerance changes polygons; give --export polygons=FILE too")
    if options.soft:
        exports.setdefault("npz", out / FORMATS["npz"].file)
    outputs = Outputs(out, overlay, rle, json_path(json_file), made, coco, ytvis, png, exports)
    request = RunRequest(video, given, outputs, options, force, resume)
    run_on_terminal(request, json_file)


def _shapes_of(mask: Path | None, boxes: list[str], points: list[str]) -> tuple[Shapes, dict[int, str]]:
    """Return the shapes from which masks are made, and the names of their objects."""
    from service.prompts.shape_text import parse_texts  # noqa: PLC0415 - pydantic models that --help does not need

    if mask is not None and (boxes or points):
        raise UsageError("--mask and --box or --points are given; choose one way to mark the objects")
    parsed = parse_texts(boxes, points)
    return parsed.shapes, parsed.labels


def _masks_of(mask: Path | None, prompts: list[str], prompt_frame: int) -> dict[int, Path]:
    """Return the mask files by frame."""
    found = {} if mask is None else {prompt_frame: mask}
    for text in prompts:
        frame, separator, name = text.partition("=")
        if not separator or not name or not frame.strip().isdecimal():
            raise UsageError(f"--prompt is {text!r}; expected FRAME=FILE, such as 120=fix.png")
        if int(frame) in found:
            raise UsageError(f"frame {int(frame)} has two masks: {found[int(frame)]} and {name}")
        found[int(frame)] = Path(name)
    return found


def _on_frames(
    masks: dict[int, Path], shapes: Shapes, options: RunOptions
) -> tuple[dict[int, Path | Shapes], RunOptions]:
    """Return the prompts by frame, ascending, and the options with the first of them as prompt frame."""
    from service.prompts.shapes import frames_of  # noqa: PLC0415 - pydantic models that --help does not need

    marked = frames_of(shapes, options.prompt_frame)
    if twice := sorted(masks.keys() & marked.keys()):
        raise UsageError(f"frame {twice[0]} is marked with --prompt and with --box or --points; choose one way")
    if marked and options.mask_mode != "auto" and not masks:
        raise UsageError(f"mask_mode is {options.mask_mode}, but boxes and points have no mask to read")
    given: dict[int, Path | Shapes] = {**masks, **marked}
    if not given:
        raise UsageError(
            "nothing says which objects to follow: give --mask FILE, or mark them with --box or --points on the "
            "picture that keymask frame writes"
        )
    return {i: given[i] for i in sorted(given)}, options.model_copy(update={"prompt_frame": min(given)})


def _joined(labels: dict[int, str], names: dict[int, str]) -> dict[int, str]:
    """Join `--labels` with the names after the boxes and points."""
    for number in labels.keys() & names.keys():
        if labels[number] != names[number]:
            raise UsageError(
                f"object {number} is {names[number]!r} after its box or points, but {labels[number]!r} in --labels"
            )
    return labels | names


def run_on_terminal(request: RunRequest, json_file: str | None) -> None:
    """Run a request under a progress bar; print its report, and write it where `--json` says."""
    from service.run.run_to_files import is_finished, run_to_files  # noqa: PLC0415

    if request.resume and is_finished(request):
        text_console(json_file).print(f"nothing to do: {request.outputs.report} is complete")
        return
    settings = load_settings()
    compile_once(settings)
    with progress_bar("segmenting") as update, heeded_interrupts() as heed:

        def on_progress(done: int, total: int | None) -> None:
            heed()
            update(done, total)

        report = run_to_files(request, settings, on_prompt=_show_prompt, on_progress=on_progress)
    write_json(report.to_json(), json_file)
    for line in report.lines():
        text_console(json_file).print(line)


def _show_prompt(prompt: ReadPrompt) -> None:
    """Say on a terminal what was read, so that a wrong mask is noticed early; the report repeats it."""
    if sys.stderr.isatty():
        console = text_console(STDOUT)
        for line in (prompt.line, *(f"note: {note}" for note in prompt.notes)):
            console.print(line)
