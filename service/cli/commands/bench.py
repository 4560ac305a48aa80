"""`keymask bench`: how fast this machine is at each stage of a run."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.console import JsonOption, json_path, progress_bar, text_console, write_json
from service.config import load_settings
from service.errors import UsageError
from service.run.output_paths import check_paths


def bench_command(
    video: Annotated[
        Path | None, typer.Argument(help="Video to time; the clip that ships with keymask by default.")
    ] = None,
    *,
    mask: Annotated[Path | None, typer.Option(help="PNG with the objects of its first frame.")] = None,
    model: Annotated[str, typer.Option(help="Network: compact, stm or stcn.")] = "compact",
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights file; 'seeded' for seeded values.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    rounds: Annotated[int, typer.Option(min=1, help="Times that each stage is timed, after one to warm up.")] = 3,
    json_file: JsonOption = None,
) -> None:
    """Time decoding, motion, key frames and propagated frames on this machine."""
    from service.cli.stage_benchmark import measure  # noqa: PLC0415 - av and cv2 are not needed for --help
    from service.run.model_loader import ModelChoice  # noqa: PLC0415

    if (video is None) != (mask is None):
        raise UsageError("VIDEO and --mask go together; give both, or neither for the clip that ships with keymask")
    check_paths((video, mask, Path(weights) if weights else None), {"--json": json_path(json_file)})
    with as_file(files("service") / "sample") as sample, progress_bar("timing") as update:
        result = measure(
            video or sample / "clip.mp4",
            mask or sample / "mask.png",
            ModelChoice(model, weights, device, precision),
            load_settings(),
            rounds,
            on_progress=update,
        )
    write_json(result, json_file)
    _show(result, json_file)


def _show(result: dict[str, Any], json_file: str | None) -> None:
    from rich.table import Table  # noqa: PLC0415

    machine, video = result["machine"], result["video"]
    title = f"{video['codec']} {video['size']}, {result['frames']} frames, {machine['cores']} cores, {machine['cpu']}"
    table = Table("stage", "ms a frame", "frames a second", "over decode", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for timing in result["stages"]:
        table.add_row(timing["stage"], str(timing["milliseconds"]), str(timing["fps"]), str(timing["over_decode"]))
    text_console(json_file).print(table)
