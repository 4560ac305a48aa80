"""What a command reads and writes, looked at together: no output may destroy an input or another output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import combinations, product
from pathlib import Path

from service.errors import UsageError


def check_paths(inputs: Iterable[Path | None], files: Mapping[str, Path | None], folders: Iterable[Path] = ()) -> None:
    """Refuse files to write that are one file with an input or with each other, by whatever path they are named.

    Args:
        inputs: What is read.
        files: What is written, by what the user calls it, such as "--rle".
        folders: What is written into.

    Raises:
        UsageError: Naming both.
    """
    given = [path for path in inputs if path is not None]
    written = {name: path for name, path in files.items() if path is not None}
    for (name, path), other in product(written.items(), given):
        if is_same(path, other):
            raise UsageError(f"{name}: {path} is an input of this run; choose another file to write")
    for (name, path), (other_name, other) in combinations(written.items(), 2):
        if is_same(path, other):
            raise UsageError(f"{name} and {other_name} are both {path}; choose different files to write")
    for (name, path), place in product(written.items(), (*folders, *(path.parent for path in written.values()))):
        if real(path) in (real(place), *real(place).parents):
            raise UsageError(f"{name}: {path} cannot be a file, since {place} is a folder to write into")


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, or would if it was there."""
    try:
        return real(one) == real(other) or one.samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return False


def real(path: Path) -> Path:
    """The absolute path without links; of a path that cannot be, as it is."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path.absolute()
