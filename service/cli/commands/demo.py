"""`keymask demo`: segment the clip that ships with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from service.cli.commands.run import run_on_terminal
from service.cli.console import JsonOption, json_path, text_console

NEXT_STEP = "keymask run VIDEO --mask MASK.png --out OUT"


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder to write into; an earlier demo in it is replaced.")] = Path(
        "demo-out"
    ),
    json_file: JsonOption = None,
) -> None:
    """Segment the clip that ships with keymask, with the default network."""
    from service.run.outputs import Outputs  # noqa: PLC0415 - av and cv2 are not needed for --help
    from service.run.run_to_files import RunRequest  # noqa: PLC0415

    with as_file(files("service") / "sample") as sample:
        request = RunRequest(
            video=sample / "clip.mp4",
            mask=sample / "mask.png",
            outputs=Outputs(out, overlay=out / "overlay.mp4", json=json_path(json_file)),
            force=True,
        )
        run_on_terminal(request, json_file)
    text_console(json_file).print(f"\nnext, on your own video: {NEXT_STEP}")
