"""`keymask batch`: segment many videos."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli.console import JsonOption, compile_once, json_path, progress_bar, text_console, write_json
from service.cli.exports import EXPORTS, complete_export, parse_format
from service.cli.options import run_options
from service.config import Settings, load_settings
from service.errors import RunError, UsageError
from service.run.options import RunOptions
from service.run.output_paths import check_paths

if TYPE_CHECKING:
    from service.run.batch.object_path import Place
    from service.run.batch.plan import BatchTask
    from service.run.batch.task import TaskResult


@run_options()
def batch_command(
    videos: Annotated[
        list[str],
        typer.Argument(
            help="Videos, folders of numbered pictures, folders of these, patterns such as 'clips/*.mp4', or URLs from "
            "KEYMASK_URL_HOSTS, also patterns such as 's3://bucket/*.mp4'.",
            show_default=False,
        ),
    ],
    *,
    masks: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the masks, or s3://bucket/prefix: NAME.png (or another picture that --mask of keymask run "
            "takes) or NAME/00000.png for the video NAME.mp4.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="Folder for NAME/ of each video and report.jsonl, or s3://bucket/prefix.",
            show_default=False,
        ),
    ],
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
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where videos are segmented: in processes of this machine, or in a Ray cluster."),
    ] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of videos that are segmented side by side; by default 1, with --engine ray "
            "KEYMASK_RAY_MAX_WORKERS at most.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue a batch: skip what is done, continue a video that was cut off."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace earlier results.")] = False,
    json_file: JsonOption = None,
    **values: Any,
) -> None:
    """Segment many videos, each from the mask of its name; failures are listed and do not end the batch."""
    from service.run.batch.object_path import place_of  # noqa: PLC0415 - not needed for --help
    from service.run.batch.plan import REPORT_NAME, expand_objects, plan_batch  # noqa: PLC0415
    from service.run.batch.results import collect  # noqa: PLC0415

    options = RunOptions.checked(**values)
    wanted = {"overlay": overlay, "rle": rle, "coco": coco, "ytvis": ytvis, "png": png}
    exports = [*map(parse_format, export or ()), *(["npz"] if options.soft else [])]
    writes = tuple(dict.fromkeys([*(name for name, is_wanted in wanted.items() if is_wanted), *exports]))
    if options.changes_overlay and "overlay" not in writes:
        raise UsageError("--opacity and --colors change the overlay; give --overlay too")
    if options.changes_polygons and "polygons" not in writes:
        raise UsageError("--polygon-tolerance changes polygons; give --export polygons too")
    settings, console = load_settings(), text_console(json_file)
    target = place_of(out)
    videos = expand_objects(videos, settings)
    tasks = plan_batch(videos, place_of(masks), target, options, writes=writes, force=force, resume=resume)
    inputs = [path for task in tasks for path in (None if task.url else task.video, task.mask)]
    written = {REPORT_NAME: target / REPORT_NAME, "--json": json_path(json_file)}
    check_paths(_local(inputs), {name: path for name, path in written.items() if isinstance(path, Path)})
    lines: list[dict[str, Any]] = []
    with (
        progress_bar("segmenting", unit="videos") as update,
        closing(_run(tasks, settings, engine, jobs)) as results,
        closing(collect(results, target / REPORT_NAME)) as collected,
    ):
        for result in collected:
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
    console.print(f"report   {target / REPORT_NAME}")
    write_json(counts | {"videos": lines}, json_file)
    if counts["failed"]:
        raise RunError(f"{counts['failed']} of {len(tasks)} videos failed; {target / REPORT_NAME} says why")


def _local(paths: Iterable[Place | None]) -> list[Path]:
    return [path for path in paths if isinstance(path, Path)]


def _run(tasks: list[BatchTask], settings: Settings, engine: str, jobs: int | None) -> Generator[TaskResult]:
    """Return the results of the tasks, which run where the user wants."""
    if engine == "ray":
        from service.run.batch.ray_workers import run_tasks_on_ray  # noqa: PLC0415 - needs an extra

        return run_tasks_on_ray(tasks, settings, jobs=jobs or settings.ray_max_workers)
    from service.run.batch.workers import run_tasks  # noqa: PLC0415 - not needed for --help

    compile_once(settings)
    return run_tasks(tasks, settings, jobs=jobs or 1)
