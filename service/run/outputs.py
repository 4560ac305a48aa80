"""Paths that a run writes, and the checks that it destroys neither an input nor an earlier result."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from service.errors import UsageError
from service.run.output_paths import check_paths, is_same, real
from service.writers.overlay import container_of


@dataclass(frozen=True, slots=True)
class Outputs:
    """Output files of one run.

    Attributes:
        folder: Holds `masks/` and `report.json`.
        overlay: Video with the masks drawn over it; None for no such file.
        rle: NDJSON with run-length encoded masks; None for no such file.
        json: What `--json` writes after the run, replaced without asking; None for no such file.
        prompt: The mask that was made from boxes and points; None if the user gave a mask.
    """

    folder: Path
    overlay: Path | None = None
    rle: Path | None = None
    json: Path | None = None
    prompt: Path | None = None

    @property
    def masks(self) -> Path:
        """Folder of the masks, indexed PNGs."""
        return self.folder / "masks"

    @property
    def report(self) -> Path:
        """The report's path."""
        return self.folder / "report.json"

    def to_json(self) -> dict[str, str | None]:
        """Return the paths as text."""
        return {
            "masks": str(self.masks),
            "overlay": None if self.overlay is None else str(self.overlay),
            "rle": None if self.rle is None else str(self.rle),
            "prompt": None if self.prompt is None else str(self.prompt),
        }

    def check(self, inputs: tuple[Path, ...], force: bool) -> None:
        """Refuse to write over an input or another output, or over an earlier result unless `force`.

        Raises:
            UsageError: A file would be overwritten, or two outputs collide; the message names the path.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--out {self.folder} is a file; a folder is expected")
        _check_room(self.folder)
        if self.overlay is not None:
            container_of(self.overlay)
        files = [path for path in (self.overlay, self.rle, self.prompt) if path is not None]
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
        files = {"report.json": self.report, "--overlay": self.overlay, "--rle": self.rle, "--json": self.json}
        files["prompt.png"] = self.prompt
        check_paths(inputs, files, (self.folder, self.masks))
        for path in (*inputs, *files.values()):
            if path is not None and (self._is_mask(path) or self._is_mask(real(path))):
                role = "an input" if path in inputs else "an output"
                raise UsageError(f"{path} is {role} of this run and lies where its masks go; choose another --out")

    def _is_mask(self, path: Path) -> bool:
        """Whether masks may be written to the path."""
        return path.suffix == ".png" and path.stem.isdecimal() and is_same(path.parent, self.masks)

    def clear(self) -> None:
        """Remove an earlier result, so that none of its masks stays among the new ones; keep all other files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.report, *self._old_masks()):
            path.unlink(missing_ok=True)

    def _old_masks(self) -> list[Path]:
        return [path for path in self.masks.glob("*.png") if self._is_mask(path)]


def _check_room(folder: Path) -> None:
    """Make sure that `folder` exists and can be written to, or can be made."""
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise UsageError(f"{folder} cannot be made: {nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written to: no permission for {nearest}")
