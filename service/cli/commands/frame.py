"""`keymask frame`: write one frame as a picture, to mark objects on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import JsonOption, json_path, text_console, write_json
from service.errors import UsageError
from service.run.options import MAX_INDEX

if TYPE_CHECKING:
    from codec.displayed_frame import DisplayedFrame


def frame_command(
    video: Annotated[
        Path, typer.Argument(help="Any video that FFmpeg reads, or a folder of numbered pictures.", show_default=False)
    ],
    index: Annotated[
        int, typer.Argument(metavar="N", min=0, max=MAX_INDEX, help="Frame, counted from 0 in presentation order.")
    ] = 0,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Picture to write (.png).", show_default=False)],
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier picture.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Write one frame as a PNG of the size that its mask must have: upright, one pixel per pixel of the video."""
    from service.run.output_paths import check_paths  # noqa: PLC0415 - av and cv2 are not needed for --help
    from service.run.source.video_input import read_frame  # noqa: PLC0415

    _check_out(out, force)
    check_paths((video,), {"--out": out, "--json": json_path(json_file)})
    frame = read_frame(video, index)
    _write_picture(frame, out)
    write_json(_to_json(frame, video, out), json_file)
    for line in _lines(frame, video, out):
        text_console(json_file).print(line)


def _check_out(out: Path, force: bool) -> None:
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out {out} must end in .png: other formats lose colours")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder; a file is expected")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} does not exist")
    if out.exists() and not force:
        raise UsageError(f"{out} exists: choose another file, or replace it with --force")


def _write_picture(frame: DisplayedFrame, out: Path) -> None:
    from PIL import Image  # noqa: PLC0415

    Image.fromarray(frame.rgb).save(out, format="PNG", compress_level=1)


def _to_json(frame: DisplayedFrame, video: Path, out: Path) -> dict[str, Any]:
    height, width = frame.rgb.shape[:2]
    return {
        "video": str(video),
        "index": frame.index,
        "time": round(frame.time, 6),
        "width": width,
        "height": height,
        "sample_aspect_ratio": float(frame.sample_aspect_ratio),
        "picture": str(out),
    }


def _lines(frame: DisplayedFrame, video: Path, out: Path) -> list[str]:
    """Return what a user reads: the size, and how to go on."""
    height, width = frame.rgb.shape[:2]
    lines = [f"picture  {out}", f"size     {width}x{height}: frame {frame.index}, at {frame.time:.3f} s"]
    aspect = frame.sample_aspect_ratio
    if aspect != 1:
        lines.append(
            f"note: players stretch this video's pixels by {aspect.numerator}:{aspect.denominator}; the picture has "
            "them as stored, which is how a mask has them"
        )
    at = f" --prompt-frame {frame.index}" if frame.index else ""
    example = f"{width // 4},{height // 4},{width // 2},{height // 2}"
    command = f"keymask run {shlex.quote(str(video))}{at} --box {example} --out out --overlay out/overlay.mp4"
    return [*lines, f"\nnext, with the box x,y,width,height around an object in place of {example}:\n  {command}"]
