"""`keymask batch`: segment many videos."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.console import JsonOption, compile_once, json_path, progress_bar, text_console, write_json
from service.cli.exports import EXPORTS, complete_export, parse_format
from service.cli.options import run_options
from service.config import load_settings
from service.errors import RunError, UsageError
from service.run.options import RunOptions
from service.run.output_paths import check_paths


@run_options()
def batch_command(
    videos: Annotated[
        list[str],
        typer.Argument(
            help="Videos, folders of numbered pictures, folders of these, patterns such as 'clips/*.mp4', or URLs from "
            "KEYMASK_URL_HOSTS.",
            show_default=False,
        ),
    ],
    *,
    masks: Annotated[
        Path,
        typer.Option(
            help="Folder of the masks: NAME.png (or another picture that --mask of keymask run takes) or "
            "NAME/00000.png for the video NAME.mp4.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for NAME/ of each video and report.jsonl.", show_default=False)],
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write NAME/overlay.mp4.")] = False,
    rle: Annotated[bool, typer.Option("--rle", help="Also write NAME/masks.ndjson: run-length encoded masks.")] = False,
    coco: Annotated[bool, typer.Option("--coco", help="Also write NAME/coco.json: COCO instances.")] = False,
    ytvis: Annotated[bool, typer.Option("--ytvis", help="Also write NAME/ytvis.json: YouTube-VIS.")] = False,
    png: Annotated[bool, typer.Option("--png", help="Also write NAME/masks.zip: the masks as one zip.")] = False,
    export: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT",
            help="Also write another format under its usual name, such as matte: NAME/matte.mp4; repeat it for more. "
            f"Formats: {', '.join(EXPORTS)}.",
            autocompletion=complete_export,
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of videos that are segmented side by side.")] = 1,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue a batch: skip what is done, continue a video that was cut off."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace earlier results.")] = False,
    json_file: JsonOption = None,
    **values: Any,
) -> None:
    """Segment many videos, each from the mask of its name; failures are listed and do not end the batch."""
    from service.run.batch.plan import REPORT_NAME, plan_batch  # noqa: PLC0415 - not needed for --help
    from service.run.batch.results import collect  # noqa: PLC0415
    from service.run.batch.workers import run_tasks  # noqa: PLC0415

    options = RunOptions.checked(**values)
    wanted = {"overlay": overlay, "rle": rle, "coco": coco, "ytvis": ytvis, "png": png}
    exports = map(parse_format, export or ())
    writes = tuple(dict.fromkeys([*(name for name, is_wanted in wanted.items() if is_wanted), *exports]))
    if options.changes_overlay and "overlay" not in writes:
        raise UsageError("--opacity and --colors change the overlay; give --overlay too")
    if options.changes_polygons and "polygons" not in writes:
        raise UsageError("--polygon-tolerance changes polygons; give --export polygons too")
    tasks = plan_batch(videos, masks, out, options, writes=writes, force=force, resume=resume)
    inputs = [path for task in tasks for path in (None if task.url else task.video, task.mask)]
    check_paths(inputs, {REPORT_NAME: out / REPORT_NAME, "--json": json_path(json_file)})
    settings, console = load_settings(), text_console(json_file)
    compile_once(settings)
    lines: list[dict[str, Any]] = []
    with (
        progress_bar("segmenting", unit="videos") as update,
        closing(run_tasks(tasks, settings, jobs=jobs)) as results,
    ):
        for result in collect(results, out / REPORT_NAME):
            lines.append(result.to_json())
            update(len(lines), len(tasks))
            if result.status != "done" or result.report is None:
                console.print(f"{result.status:8}{result.task.name}{f': {result.error}' if result.error else ''}")
            else:
                console.print(
                    f"{result.status:8}{result.task.name}: {result.report['frames_written']} frames in "
                    f"{result.seconds:.1f} s"
                )
    counts = {status: sum(line["status"] == status for line in lines) for status in ("done", "skipped", "failed")}
    console.print(", ".join(f"{count} {status}" for status, count in counts.items()))
    console.print(f"report   {out / REPORT_NAME}")
    write_json(counts | {"videos": lines}, json_file)
    if counts["failed"]:
        raise RunError(f"{counts['failed']} of {len(tasks)} videos failed; {out / REPORT_NAME} says why")
