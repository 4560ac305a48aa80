"""A folder of results of `keymask run`, and the versions before its corrections.

    OUT/{masks/00000.png ..., report.json, corrections.json}
    OUT/versions/<n>/{masks/00000.png ..., report.json, corrections.json, exports/<format>...}

A version shares its files with the current result by hard links, where the file system has them, so that it takes the
space of what changed. `corrections.json` has the prompts of the result once it was corrected. `exports` has files that
a correction wrote again, such as an overlay.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from codec.types import FrameType
from service.errors import UsageError
from service.prompts.stored_prompts import StoredPrompts, given_mask
from service.run.directions.stored_soft import StoredSoft
from service.writers.png import mask_name
from vos.runtime.durable import make_folder, sync_files
from vos.types import GIVEN, FrameMask, MaskSource

_FILES = ("report.json", "corrections.json")
_EXPORTS = "exports"


class ResultFolder:
    """The result of a run that has finished.

    Args:
        folder: The folder.

    Attributes:
        report: The report, without its entries of frames.
        soft: The soft masks of the result, which masks then have, too; None by default.

    Raises:
        UsageError: There is no complete result.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.masks = folder / "masks"
        try:
            report = json.loads((folder / "report.json").read_bytes())
            entries = {entry["index"]: entry for entry in report.pop("frames")}
            complete = report["complete"]
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{folder} has no result of keymask run: no readable report.json") from None
        if not complete:
            raise UsageError(f"the result in {folder} is not complete; continue it with keymask run --resume")
        self.report: dict[str, Any] = report
        self._entries: dict[int, dict[str, Any]] = entries
        self.soft: StoredSoft | None = None

    @property
    def indices(self) -> list[int]:
        """Presentation indices of the frames, ascending."""
        return sorted(self._entries)

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame; None if the result does not have it.

        Raises:
            UsageError: The picture of the mask is missing or was changed to another kind.
        """
        entry = self._entries.get(index)
        if entry is None:
            return None
        path = self.masks / mask_name(index)
        try:
            with Image.open(path) as picture:
                labels = np.array(picture) if picture.mode in ("P", "L") else None
        except OSError:
            labels = None
        if labels is None:
            raise UsageError(f"{path} is missing or is no indexed picture any more")
        kind, source = FrameType(entry["type"]), MaskSource(entry["source"])
        scores = {int(number): score for number, score in entry["scores"].items()}
        soft = None if self.soft is None else self.soft.masks(index)
        return FrameMask(index, entry["pts"], entry["time"], kind, source, labels, scores, soft)

    def prompts(self) -> StoredPrompts:
        """Return the prompts of the result: those that are stored, else the masks of its prompt frames.

        Raises:
            UsageError: The result has no prompt frame.
        """
        path = self.folder / "corrections.json"
        if path.exists():
            return StoredPrompts.model_validate_json(path.read_bytes())
        shapes = []
        for index in (i for i in self.indices if self._entries[i]["source"] in GIVEN):
            mask = self.mask(index)
            assert mask is not None
            shapes += [given_mask(mask.labels == n, index, int(n)) for n in np.unique(mask.labels) if n]
        if not shapes:
            raise UsageError(f"the result in {self.folder} begins after its prompt frame, so it cannot be corrected")
        return StoredPrompts(new=tuple(shapes))

    def keep_version(self, exports: Mapping[str, Path]) -> int:
        """Keep the result as the next version, durably.

        Args:
            exports: Files on request that are about to be replaced, by format.

        Returns:
            The number of the version, from 1.
        """
        number = max(versions_of(self.folder), default=0) + 1
        target = self.folder / "versions" / str(number)
        shutil.rmtree(target, ignore_errors=True)
        make_folder(target / "masks")
        for index in self.indices:
            _link(self.masks / mask_name(index), target / "masks" / mask_name(index))
        for name, path in exports.items():
            make_folder(target / _EXPORTS)
            _link(path, target / _EXPORTS / name)
        for name in reversed(_FILES):  # with its report, the version counts
            if (self.folder / name).exists():
                _link(self.folder / name, target / name)
        sync_files(path for path in target.rglob("*") if path.is_file())
        return number


def versions_of(folder: Path) -> list[int]:
    """Return the numbers of the versions in a folder of results, ascending."""
    found = (folder / "versions").glob("*/report.json")
    return sorted(int(path.parent.name) for path in found if path.parent.name.isdecimal())


def clear_versions(folder: Path) -> None:
    """Delete all versions, and the prompts of corrections, before another result takes the place of this one."""
    if versions_of(folder):
        shutil.rmtree(folder / "versions")
    (folder / "corrections.json").unlink(missing_ok=True)


def undo(folder: Path) -> int:
    """Go back to the latest version; return its number.

    Raises:
        UsageError: There is none.
    """
    numbers = versions_of(folder)
    if not numbers:
        raise UsageError(f"{folder} has no earlier version: nothing was corrected, or all corrections were undone")
    version = folder / "versions" / str(numbers[-1])
    kept = {path.name for path in (version / "masks").iterdir()}
    for path in (version / "masks").iterdir():
        _link(path, folder / "masks" / path.name)
    for path in (folder / "masks").glob("*.png"):
        if path.stem.isdecimal() and path.name not in kept:
            path.unlink()
    outputs = json.loads((version / "report.json").read_bytes()).get("outputs") or {}
    for path in (version / _EXPORTS).glob("*"):
        if outputs.get(path.name) is not None and Path(outputs[path.name]).parent.is_dir():
            _link(path, Path(outputs[path.name]))
    for name in reversed(_FILES):
        if (version / name).exists():
            _link(version / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    sync_files([*(folder / "masks").glob("*.png"), folder / "report.json"])
    shutil.rmtree(version)
    if len(numbers) == 1:
        shutil.rmtree(version.parent)
    return numbers[-1]


def _link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it; a file there is replaced at once."""
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copy2(source, part)
    if target.exists() and part.samefile(target):
        part.unlink()
    else:
        part.replace(target)
