"""Check the paths of a command: no output may destroy an input or another output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import combinations, product
from pathlib import Path

from service.errors import UsageError


def check_paths(inputs: Iterable[Path | None], files: Mapping[str, Path | None], folders: Iterable[Path] = ()) -> None:
    """Refuse to write a file that is also an input or another output, whatever path names it.

    Args:
        inputs: Files that are read.
        files: Files that are written, by the option that names them, such as "--rle".
        folders: Folders that are written into.

    Raises:
        UsageError: Two paths collide; the message names both.
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
    """Whether two paths lead to one file, or would if it existed."""
    try:
        return real(one) == real(other) or one.samefile(other)
    except (OSError, ValueError):  # one of them does not exist
        return False


def real(path: Path) -> Path:
    """Return the absolute path without links; a path that cannot exist is returned as it is, made absolute."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path.absolute()
