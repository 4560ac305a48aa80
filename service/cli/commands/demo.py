"""`keymask demo`: segment the clip that ships with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import JsonOption, compile_once, json_path, progress_bar, text_console, write_json
from service.config import load_settings

NEXT_STEP = "keymask run VIDEO --mask MASK.png --out OUT"


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder to write into; an earlier demo in it is replaced.")] = Path(
        "demo-out"
    ),
    json_file: JsonOption = None,
) -> None:
    """Segment the clip that ships with keymask, with the default network."""
    from service.run.outputs import Outputs  # noqa: PLC0415 - av and cv2 are not needed for --help
    from service.run.run_to_files import RunRequest, run_to_files  # noqa: PLC0415

    settings = load_settings()
    compile_once(settings)
    with as_file(files("service") / "sample") as sample, progress_bar("segmenting") as update:
        request = RunRequest(
            video=sample / "clip.mp4",
            mask=sample / "mask.png",
            outputs=Outputs(out, overlay=out / "overlay.mp4", json=json_path(json_file)),
            force=True,
        )
        report = run_to_files(request, settings, on_progress=update)
    write_json(report.to_json(), json_file)
    for line in report.lines():
        text_console(json_file).print(line)
    text_console(json_file).print(f"\nnext, on your own video: {NEXT_STEP}")
