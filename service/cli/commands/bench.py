"""`keymask bench`: time each stage of a run on this machine."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.console import JsonOption, compile_once, json_path, progress_bar, text_console, write_json
from service.cli.options import run_options
from service.config import load_settings
from service.errors import UsageError
from service.run.options import RunOptions
from service.run.output_paths import check_paths


@run_options("model", "weights", "device", "precision")
def bench_command(
    video: Annotated[
        Path | None, typer.Argument(help="Video to time; the clip that ships with keymask by default.")
    ] = None,
    *,
    mask: Annotated[Path | None, typer.Option(help="PNG with the objects of its first frame.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed runs of each stage, after one to warm up.")] = 3,
    json_file: JsonOption = None,
    **values: Any,
) -> None:
    """Time decoding, motion, key frames and propagated frames on this machine."""
    from service.cli.stage_benchmark import measure  # noqa: PLC0415 - av and cv2 are not needed for --help

    if (video is None) != (mask is None):
        raise UsageError("VIDEO and --mask go together; give both, or neither for the clip that ships with keymask")
    options = RunOptions.checked(**values)
    weights = None if options.weights is None else Path(options.weights)
    check_paths((video, mask, weights), {"--json": json_path(json_file)})
    settings = load_settings()
    compile_once(settings)
    with as_file(files("service") / "sample") as sample, progress_bar("timing", "stages") as update:
        result = measure(
            video or sample / "clip.mp4",
            mask or sample / "mask.png",
            options,
            settings,
            rounds,
            on_progress=update,
        )
    write_json(result, json_file)
    _show(result, json_file)


def _show(result: dict[str, Any], json_file: str | None) -> None:
    from rich.table import Table  # noqa: PLC0415

    machine, video = result["machine"], result["video"]
    title = f"{video['codec']} {video['size']}, {result['frames']} frames, {machine['cores']} cores, {machine['cpu']}"
    table = Table("stage", "ms per frame", "frames per second", "over decode", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for timing in result["stages"]:
        table.add_row(timing["stage"], str(timing["milliseconds"]), str(timing["fps"]), str(timing["over_decode"]))
    text_console(json_file).print(table)
