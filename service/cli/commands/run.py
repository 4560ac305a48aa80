"""`keymask run`: segment one video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import JsonOption, heeded_interrupts, json_path, progress_bar, text_console, write_json
from service.config import load_settings


def run_command(
    video: Annotated[Path, typer.Argument(help="Any video that FFmpeg reads.", show_default=False)],
    *,
    mask: Annotated[
        Path,
        typer.Option(
            help="PNG with the objects in one frame, of the video's displayed size. Indexed: the palette index is the "
            "object's id, 0 the background. Grey or RGB: whatever is not black is object 1.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for masks/ and report.json.", show_default=False)],
    model: Annotated[str, typer.Option(help="Network: compact, stm or stcn.")] = "compact",
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights file; 'seeded' for seeded values, to measure speed.")
    ] = None,
    keyframes: Annotated[
        str, typer.Option(help="Frames that the network segments: adaptive, codec (I and P frames) or every:N.")
    ] = "adaptive",
    quality: Annotated[
        str,
        typer.Option(
            help="How many key frames adaptive takes, and how closely the refiner looks: fast, balanced or best."
        ),
    ] = "balanced",
    max_key_share: Annotated[
        float, typer.Option(help="Most key frames that adaptive takes, as a share of all frames, above 0 to 1.")
    ] = 1.0,
    refine: Annotated[bool, typer.Option(help="Whether the refiner repairs carried masks.")] = True,
    motion: Annotated[
        str, typer.Option(help="Where motion comes from: bitstream, proxy (re-encoded) or auto.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    prompt_frame: Annotated[int, typer.Option(help="Frame that the mask belongs to, counted from 0.")] = 0,
    start: Annotated[
        int | None, typer.Option(help="First frame to write, counted from 0; the prompt's frame by default.")
    ] = None,
    end: Annotated[int | None, typer.Option(help="Frame to stop before; the end of the video by default.")] = None,
    max_side: Annotated[int | None, typer.Option(help="Longest side in pixels at which frames are analysed.")] = None,
    overlay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a video with the masks drawn over it (.mp4).")
    ] = None,
    rle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write run-length encoded masks, one JSON line a frame.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier result.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Segment a video: one mask a frame from the mask of one frame."""
    from service.run.model_loader import ModelChoice  # noqa: PLC0415 - av and cv2 are not needed for --help
    from service.run.outputs import Outputs  # noqa: PLC0415
    from service.run.run_to_files import RunRequest, run_to_files  # noqa: PLC0415
    from vos.types import Options  # noqa: PLC0415

    request = RunRequest(
        video=video,
        mask=mask,
        outputs=Outputs(out, overlay, rle, json_path(json_file)),
        options=Options(keyframes=keyframes, start=start, end=end, quality=quality, max_key_share=max_key_share),
        prompt_frame=prompt_frame,
        model=ModelChoice(model, weights, device, precision, refine),
        motion=motion,
        max_side=max_side,
        force=force,
    )
    with progress_bar("segmenting") as update, heeded_interrupts() as heed:

        def report(done: int, total: int | None) -> None:
            heed()
            update(done, total)

        summary = run_to_files(request, load_settings(), on_progress=report)
    write_json(summary.to_json(), json_file)
    for line in summary.lines():
        text_console(json_file).print(line)
