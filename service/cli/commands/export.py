"""`keymask export`: send a result to another program."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import JsonOption, progress_bar, text_console, write_json
from service.cli.options import Command, Group
from service.errors import UsageError
from service.run.per_object import parse_labels

if TYPE_CHECKING:
    from vos.types import FrameMask

app = typer.Typer(help="Send a result to another program.", no_args_is_help=True, cls=Group)


@app.command("cvat", cls=Command)
def cvat_command(
    result: Annotated[
        Path,
        typer.Argument(
            help="Folder of results, --out of keymask run; or masks as JSON lines, --rle of keymask run or "
            "/v1/jobs/ID/masks of a service.",
            show_default=False,
        ),
    ],
    *,
    task: Annotated[int, typer.Option(metavar="ID", min=1, help="Task of CVAT.", show_default=False)],
    url: Annotated[str, typer.Option(help="Address of CVAT.")] = "https://app.cvat.ai",
    token: Annotated[
        str,
        typer.Option(help="Access token of your account; - reads it from standard input.", show_default=False),
    ],
    labels: Annotated[
        str | None,
        typer.Option(metavar="ID=NAME,...", help="Labels of the task by object, such as 1=dog,2=person."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove all annotations of the task first; by default masks are added.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Upload masks into a task of CVAT that was made from the same video.

    The names of the objects are the labels of the task. Frames that the task does not have are left out.
    """
    from service.writers.annotations.cvat import CvatServer, names_of, upload  # noqa: PLC0415 - av

    try:
        chosen = parse_labels(labels)
    except ValueError as error:
        raise UsageError(f"--labels is {labels!r}; {error}") from None
    source = _folder(result) if result.is_dir() else _lines(result)
    names = names_of(source.objects, chosen or source.labels)
    server = CvatServer(url, sys.stdin.readline().strip() if token == "-" else token)
    with progress_bar("uploading") as update:
        done = upload(source.masks, names, server, task, replace=replace, on_frames=lambda n: update(n, source.count))
    write_json({"shapes": done.shapes, "frames": done.frames, "frames_skipped": done.skipped}, json_file)
    left_out = f"; {done.skipped} frames are not in the task" if done.skipped else ""
    text_console(json_file).print(f"{done.shapes} masks in {done.frames} frames of task {task}{left_out}")


@dataclass(frozen=True, slots=True)
class _Result:
    """A result as it lies on the disk.

    Attributes:
        objects: Ids of its objects.
        labels: Object id -> name.
        count: Number of frames.
        masks: The masks in presentation order.
    """

    objects: tuple[int, ...]
    labels: dict[int, str]
    count: int
    masks: Iterable[FrameMask]


def _folder(path: Path) -> _Result:
    """Read a folder of results."""
    from service.run.directions.result_folder import ResultFolder  # noqa: PLC0415

    folder = ResultFolder(path)
    objects = tuple(entry["object"] for entry in folder.report["prompt"])
    labels = {int(number): name for number, name in (folder.report["options"].get("labels") or {}).items()}
    masks = (mask for mask in map(folder.mask, folder.indices) if mask is not None)
    return _Result(objects, labels, len(folder.indices), masks)


def _lines(path: Path) -> _Result:
    """Read JSON lines, twice: CVAT's labels are compared with all objects before the first mask is sent."""
    from service.writers.mask_line import mask_of  # noqa: PLC0415

    objects: set[int] = set()
    size, count = [0, 0], 0
    for line in _parsed(path):
        objects.update(entry["id"] for entry in line["objects"])
        size = next((entry["rle"]["size"] for entry in line["objects"]), size)
        count += 1
    height, width = size
    return _Result(tuple(sorted(objects)), {}, count, (mask_of(line, width, height) for line in _parsed(path)))


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    from service.writers.mask_line import parse_line  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield parse_line(line)
                except ValueError:
                    raise UsageError(f"line {number} of {path} is no line of masks") from None
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
