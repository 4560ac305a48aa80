"""Result files: whole, or not there.

RESULTS/masks.zip          the file
RESULTS/masks.zip.bytes    its size, which is on the disk before the file gets its name

A file whose size is not the recorded one was cut off and is made again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vos.runtime.durable import replace_durably, sync_folder, write_durably


def store_result(part: Path, target: Path) -> None:
    """Give a complete file its name. After a power cut it is whole, or not found by `stat_result`."""
    sync_folder(target.parent.parent)  # the folder of the results may be new
    write_durably(_size_file(target), b"%d\n" % part.stat().st_size)
    replace_durably(part, target)


def stat_result(target: Path) -> os.stat_result | None:
    """Return the stat of a result file, None if it is missing or not whole."""
    with suppress(FileNotFoundError, ValueError):
        stat = target.stat()
        if stat.st_size == int(_size_file(target).read_bytes()):
            return stat
    return None


def _size_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.bytes")
