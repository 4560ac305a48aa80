"""Paths that a run writes, and the checks that it destroys neither an input nor an earlier result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from service.errors import UsageError
from service.prompts.colors.names import parse_hex
from service.run.directions.result_folder import clear_versions
from service.run.options import JobOptions
from service.run.output_paths import check_paths, is_same, real
from service.writers.categories import Categories
from service.writers.formats import FORMATS, Material, check_suffix
from service.writers.video.overlay import Look
from vos.runtime.durable import make_folder

if TYPE_CHECKING:
    from service.run.segment import Segmentation

_FILES = ("prompt", "overlay", "rle", "coco", "ytvis", "png")


@dataclass(frozen=True, slots=True)
class Outputs:
    """Output files of one run.

    Attributes:
        folder: Holds `masks/` and `report.json`.
        overlay: Video with the masks drawn over it; None for no such file.
        rle: NDJSON with run-length encoded masks; None for no such file.
        json: What `--json` writes after the run, replaced without asking; None for no such file.
        prompt: The mask that was made from boxes and points; None if the user gave a mask.
        coco: COCO instances; None for no such file.
        ytvis: YouTube-VIS annotations; None for no such file.
        png: Zip of the masks; None for no such file.
        exports: Name of another format (`service.writers.formats.FORMATS`) -> file.
    """

    folder: Path
    overlay: Path | None = None
    rle: Path | None = None
    json: Path | None = None
    prompt: Path | None = None
    coco: Path | None = None
    ytvis: Path | None = None
    png: Path | None = None
    exports: Mapping[str, Path] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, Path]:
        """Files that are written besides masks and report, by name; all but the prompt are those of an option."""
        named = {name: getattr(self, name) for name in _FILES}
        return {name: path for name, path in named.items() if path is not None} | dict(self.exports)

    @property
    def formats(self) -> dict[str, Path]:
        """Files of the formats in `service.writers.formats.FORMATS`, by name."""
        return {name: path for name, path in self.files.items() if name in FORMATS}

    @property
    def masks(self) -> Path:
        """Folder of the masks, indexed PNGs."""
        return self.folder / "masks"

    @property
    def report(self) -> Path:
        """The report's path."""
        return self.folder / "report.json"

    def to_json(self) -> dict[str, str | None]:
        """Return the paths as text; None for a file that is not written."""
        none: dict[str, str | None] = dict.fromkeys(_FILES)
        return {"masks": str(self.masks)} | none | {name: str(path) for name, path in self.files.items()}

    def written(self) -> list[dict[str, Any]]:
        """Describe these files as they are now, so that a later run can tell whether they changed."""
        return [_described(path) for path in self.files.values() if path.is_file()]

    def check(self, inputs: tuple[Path, ...], force: bool) -> None:
        """Refuse to write over an input or another output, or over an earlier result unless `force`.

        Raises:
            UsageError: A file would be overwritten, or two outputs collide; the message names the path.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--out {self.folder} is a file; a folder is expected")
        _check_room(self.folder)
        for name, path in self.formats.items():
            if name == "overlay" or name in self.exports:
                check_suffix(name, path)
        files = self.files.values()
        for path in files:
            if path.is_dir():
                raise UsageError(f"{path} is a folder; a file is expected")
            _check_room(path.parent)
        self._check_collisions(inputs)
        taken = [str(path) for path in (self.report, *files) if path.exists()]
        taken += [f"{self.masks}/"] if self._old_masks() else []
        if taken and not force:
            raise UsageError(f"{', '.join(taken)} from an earlier run: choose another place, or replace with --force")

    def _check_collisions(self, inputs: tuple[Path, ...]) -> None:
        if any(is_same(path, self.masks) for path in inputs):
            raise UsageError(f"{self.masks} is an input of this run and masks would go there; choose another --out")
        on_request = {
            f"--export {name}" if name in self.exports else f"--{name}": path
            for name, path in self.files.items()
            if name != "prompt"
        }
        files = {"report.json": self.report} | on_request | {"--json": self.json, "prompt.png": self.prompt}
        check_paths(inputs, files, (self.folder, self.masks))
        for path in (*inputs, *files.values()):
            if path is not None and (self._is_mask(path) or self._is_mask(real(path))):
                role = "an input" if path in inputs else "an output"
                raise UsageError(f"{path} is {role} of this run and lies where its masks go; choose another --out")

    def _is_mask(self, path: Path) -> bool:
        """Whether masks may be written to the path."""
        return path.suffix == ".png" and path.stem.isdecimal() and is_same(path.parent, self.masks)

    def clear(self, inputs: tuple[Path, ...] = ()) -> None:
        """Remove an earlier result, so that nothing of it stays among the new files; keep all other files and `inputs`.

        Files that the earlier run wrote elsewhere are those that its report describes, if they have not changed since.
        """
        make_folder(self.folder)
        clear_versions(self.folder)
        for path in (*self._old_files(), self.report, *self._old_masks()):
            if not any(is_same(path, given) for given in inputs):
                path.unlink(missing_ok=True)

    def _old_files(self) -> list[Path]:
        """Return the files on request that the earlier run in the folder wrote and nobody has changed since."""
        try:
            report = json.loads(self.report.read_bytes())
        except (OSError, ValueError):
            return []
        return unchanged_files(report) if isinstance(report, dict) else []

    def _old_masks(self) -> list[Path]:
        return [path for path in self.masks.glob("*.png") if self._is_mask(path)]


def unchanged_files(report: Mapping[str, Any]) -> list[Path]:
    """Return the files on request that a run wrote, by its report, and nobody has changed since."""
    written = report.get("written")  # reports of earlier versions lack it
    entries = [entry for entry in written if isinstance(entry, dict)] if isinstance(written, list) else []
    paths = [(Path(entry["path"]), entry) for entry in entries if isinstance(entry.get("path"), str)]
    return [path for path, entry in paths if path.is_file() and _described(path) == entry]


def results_of_another_run(place: object) -> UsageError:
    """Return the error for results that a run cannot continue."""
    return UsageError(
        f"{place} has results of another video, mask or other options, which cannot be continued: "
        "choose another place, or replace them with --force"
    )


def look_of(options: JobOptions) -> Look:
    """Return how the overlay is drawn."""
    return Look(options.opacity, {i: parse_hex(color) for i, color in (options.colors or {}).items()})


def material_of(
    run: Segmentation, source: Path | BinaryIO, *, name: str = "video", sound: BinaryIO | None = None
) -> Material:
    """Return what writers need of a run that is being computed.

    Args:
        run: The run.
        source: The video, or a folder of pictures.
        name: What files call the video.
        sound: The video a second time, if it is an open file.
    """
    return Material(
        source=source,
        sound=sound,
        name=name,
        size=(run.info.display_width, run.info.display_height),
        read_info=lambda: run.info,
        objects=run.object_ids,
        categories=Categories(run.options.labels),
        about={"description": "masks by keymask", "date_created": datetime.now(UTC).isoformat(timespec="seconds")},
        look=look_of(run.options),
        tolerance=run.options.polygon_tolerance,
    )


def _described(path: Path) -> dict[str, Any]:
    """Return what identifies a file that was written."""
    stat = path.stat()
    return {"path": str(real(path)), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}


def _check_room(folder: Path) -> None:
    """Make sure that `folder` exists and can be written to, or can be made."""
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise UsageError(f"{folder} cannot be made: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written to: no permission for {nearest}")
