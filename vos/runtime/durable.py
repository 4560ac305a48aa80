"""Files that survive a power cut.

A write reaches the disk at some later time. A rename may reach it before the bytes of the file that it names, so that
after a power cut the file is there and empty. Whoever acknowledges a file therefore first waits for its bytes
(`fsync` of the file), and then for its name (`fsync` of the folder).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_PART = "part-"
_SYNCS = 16
"""Files synced side by side: file systems write the changes of simultaneous calls together."""


def part_of(target: Path) -> Path:
    """Return a new path beside `target`, with its suffix, for a file that is renamed once it is complete.

    No two calls return the same path, so that two writers of one file do not write into each other's.
    """
    return target.with_name(f"{_PART}{secrets.token_hex(8)}-{target.name}")


def is_part(name: str) -> bool:
    """Return whether a file of this name is one of `part_of`."""
    return name.startswith(_PART)


def sync_file(path: Path) -> None:
    """Wait until the bytes of a file are on the disk, whichever process wrote them."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk: files that were created, renamed or deleted in it."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system without this call, such as some network mounts
            raise
    finally:
        os.close(folder)


def sync_files(paths: Iterable[Path]) -> None:
    """Wait until the bytes of many files, and the names in their folders, are on the disk."""
    files = list(paths)
    with ThreadPoolExecutor(_SYNCS) as pool:
        list(pool.map(sync_file, files))
    for folder in {file.parent for file in files}:
        sync_folder(folder)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Create a folder and its missing parents, durably."""
    missing = [folder for folder in (path, *path.absolute().parents) if not folder.exists()]
    path.mkdir(mode, parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.absolute().parent)


def replace_durably(part: Path, target: Path) -> None:
    """Rename a complete file in its folder. After a power cut there is the old file or the whole new one."""
    sync_file(part)
    part.replace(target)
    sync_folder(target.parent)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a new file that durably replaces `target` at the end of the block; an error leaves `target` as it is."""
    part = part_of(target)
    try:
        with part.open("wb") as file:
            yield file
        replace_durably(part, target)
    finally:
        part.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Delete what killed writers of files in a folder left of them."""
    for part in folder.glob(f"{_PART}*"):
        part.unlink(missing_ok=True)


def write_durably(target: Path, content: bytes) -> None:
    """Write a file. After a power cut, there is the old file or the whole new one."""
    with replacing(target) as file:
        file.write(content)
