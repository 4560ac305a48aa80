"""The interface of result writers: one call per frame in presentation order, then one call to finish."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Protocol, TextIO, TypeAlias, cast, runtime_checkable

from vos.runtime.durable import make_folder
from vos.types import FrameMask

Target: TypeAlias = Path | BinaryIO
"""Where a writer writes: a path, whose folder is created if missing, or an open file, which `close` closes."""
MakeTemporary: TypeAlias = Callable[[], BinaryIO]
"""Opens an empty temporary file without a name."""


class ResultWriter(Protocol):
    """Writes masks in one format while they are computed, and holds at most a few frames."""

    def write(self, frame: FrameMask) -> None:
        """Append one frame."""

    def close(self) -> None:
        """Complete the output, also after an error; later calls do nothing."""


@runtime_checkable
class LineWriter(Protocol):
    """A `ResultWriter` that holds masks as lines of masks do."""

    def write_line(self, line: Mapping[str, Any], /) -> None:
        """Append a frame that is a line of masks (`service.writers.mask_line`)."""

    def close(self) -> None:
        """Complete the output."""


def opened(target: Target) -> BinaryIO:
    """Open a target for writing."""
    if not isinstance(target, Path):
        return target
    make_folder(target.parent)
    return target.open("wb")


def as_text(file: BinaryIO) -> TextIO:
    """Return a file as UTF-8 text with plain newlines; closing the text closes the file."""
    return io.TextIOWrapper(file, encoding="utf-8", newline="\n")


def temporary_beside(target: Target) -> MakeTemporary:
    """Make temporary files on the disk of a path, so that memory does not grow with the video."""
    folder = target.parent if isinstance(target, Path) else None
    return lambda: cast(BinaryIO, TemporaryFile(dir=folder))
