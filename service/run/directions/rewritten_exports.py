"""Write the files on request of a corrected result again: overlay, annotations and all other formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codec.types import VideoInfo
from service.run.options import RunOptions
from service.run.outputs import Outputs, look_of, unchanged_files
from service.writers.categories import Categories
from service.writers.formats import FORMATS, Material
from service.writers.ndjson import RleWriter
from service.writers.video.film import FilmWriter
from service.writers.writer import ResultWriter
from vos.runtime.durable import sync_files
from vos.types import FrameMask


def outputs_of(folder: Path, report: Mapping[str, Any]) -> Outputs:
    """Return the files that a report names."""
    paths = {name: Path(path) for name, path in (report.get("outputs") or {}).items() if path is not None}
    named = {name: paths.pop(name) for name in ("prompt", "overlay", "rle", "coco", "ytvis", "png") if name in paths}
    paths.pop("masks", None)
    return Outputs(folder, **named, exports=paths)


@dataclass(slots=True)
class RewrittenExports:
    """Files beside those that they are to replace. Nothing else has changed until `replace`.

    Attributes:
        files: Name of a format -> the file to replace.
        notes: What the user should know, in plain words.
    """

    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def replace(self) -> None:
        """Put the new files in the place of the old ones, durably."""
        for path in self.files.values():
            _part(path).replace(path)
        sync_files(self.files.values())

    def discard(self) -> None:
        """Delete the new files that have replaced none."""
        for path in self.files.values():
            _part(path).unlink(missing_ok=True)


def rewrite_exports(
    outputs: Outputs,
    report: Mapping[str, Any],
    masks: Callable[[], Iterable[FrameMask]],
    *,
    video: Path,
    info: VideoInfo,
    objects: tuple[int, ...],
    options: RunOptions,
) -> RewrittenExports:
    """Write the exports of a result again, beside the old ones.

    Files that were changed or moved since are not.

    Args:
        outputs: The files of the result.
        report: Its report.
        masks: Returns the new masks, in presentation order.
        video: The video.
        info: Sizes and orientation of the video.
        objects: Ids of all objects.
        options: How the result was made.

    Raises:
        CodecError: The video cannot be read.
        OSError: A file cannot be written.
    """
    mine = {path.resolve() for path in unchanged_files(report)}
    wanted = {name: path for name, path in outputs.files.items() if name != "prompt"}
    made = RewrittenExports()
    for name, path in wanted.items():
        if path.resolve() in mine:
            made.files[name] = path
    if stale := [str(path) for name, path in wanted.items() if name not in made.files]:
        made.notes.append(f"files from before the correction: {', '.join(stale)}")
    material = Material(
        source=video,
        name=video.name,
        size=(info.display_width, info.display_height),
        read_info=lambda: info,
        objects=objects,
        categories=Categories(options.labels),
        about={"description": "masks by keymask", "date_created": datetime.now(UTC).isoformat(timespec="seconds")},
        look=look_of(options),
        tolerance=options.polygon_tolerance,
    )
    try:
        with ExitStack() as stack:
            writers: list[ResultWriter] = []
            for name, path in made.files.items():
                part = _part(path)
                writers.append(RleWriter(part) if name == "rle" else FORMATS[name].open(part, material))
                stack.callback(writers[-1].close)
            for mask in masks() if writers else ():
                for writer in writers:
                    writer.write(mask)
        made.notes += [note for writer in writers if isinstance(writer, FilmWriter) for note in writer.notes]
    except BaseException:
        made.discard()
        raise
    return made


def _part(path: Path) -> Path:
    """Return where a file is written before it replaces the old one; its ending names the container of a video."""
    return path.with_name(f"{path.stem}.part{path.suffix}")
