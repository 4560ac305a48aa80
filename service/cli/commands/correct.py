"""`keymask correct`: correct a folder of results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import JsonOption, compile_once, heeded_interrupts, progress_bar, text_console, write_json
from service.config import load_settings
from service.errors import UsageError


def correct_command(
    out: Annotated[Path, typer.Argument(help="Folder of results, --out of keymask run.", show_default=False)],
    *,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAME=FILE",
            help="Frame, counted from 0, and a picture with its objects, as --mask of keymask run; repeat it for more.",
        ),
    ] = None,
    object: Annotated[
        int | None,
        typer.Option(min=1, max=255, help="The object that the pictures show; by default they hold object ids."),
    ] = None,
    absent: Annotated[
        list[int] | None,
        typer.Option(metavar="FRAME", min=0, help="Frame without the object of --object; repeat it for more."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the version before the latest correction.")] = False,
    video: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The video, if it is no longer where it was.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")] = "auto",
    json_file: JsonOption = None,
) -> None:
    """Correct a result: give masks of single frames; what they can change is computed again, in both directions.

    The version before is kept in versions/ in the folder.
    """
    from service.run.directions.correct_folder import CorrectRequest, correct_folder  # noqa: PLC0415 - av, cv2
    from service.run.directions.result_folder import undo as undo_latest  # noqa: PLC0415

    console = text_console(json_file)
    if undo:
        if prompt or absent:
            raise UsageError("--undo goes back and corrects nothing; leave out --prompt and --absent")
        number = undo_latest(out)
        write_json({"version": number}, json_file)
        console.print(f"{out} is version {number} again")
        return
    request = CorrectRequest(out, _masks(prompt or []), object, tuple(absent or ()), video, device)
    settings = load_settings()
    compile_once(settings)
    with progress_bar("correcting") as update, heeded_interrupts() as heed:

        def on_progress(done: int, total: int | None) -> None:
            heed()
            update(done, total)

        report = correct_folder(request, settings, on_progress=on_progress)
    write_json(report, json_file)
    made = report["correction"]
    changed = ", ".join(f"{first} to {end - 1}" for first, end in made["changed"])
    console.print(f"{made['frames_changed']} of {report['frames_written']} frames changed: {changed}")
    console.print(f"version before: {out / 'versions' / str(made['version_before'])}; keymask correct {out} --undo")
    for note in report["notes"]:
        console.print(f"note: {note}")


def _masks(texts: list[str]) -> dict[int, Path]:
    """Parse the values of `--prompt`."""
    masks: dict[int, Path] = {}
    for text in texts:
        frame, separator, path = text.partition("=")
        if not (separator and path and frame.isdecimal() and len(frame) < 10):
            raise UsageError(f"--prompt is {text!r}; expected FRAME=FILE, such as 120=fix.png")
        if int(frame) in masks:
            raise UsageError(f"--prompt gives frame {frame} twice; one picture may hold several objects")
        masks[int(frame)] = Path(path)
    return masks
