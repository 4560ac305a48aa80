"""Hands open files to a process that may open none itself.

A path among the arguments of a call is opened by the caller, and the function gets the open file in its place. So a
process without access to the file system reads and writes exactly the files of its call.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO, TypeAlias, cast

_MODE = 0o600

Input: TypeAlias = Path | BinaryIO
"""A file to read: callers give its path, functions get the file, at its start."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file to write, created or emptied by the caller; the function gets the file, at its start.

    Attributes:
        path: Path of the file.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class Temporary:
    """A temporary file without a name; the function gets the file.

    Attributes:
        folder: A folder on the disk that it takes space from.
    """

    folder: Path


OutputFile: TypeAlias = Output | BinaryIO
TemporaryHandle: TypeAlias = Temporary | BinaryIO


@contextmanager
def opened_input(file: Input) -> Iterator[BinaryIO]:
    """Open a file that was given by its path; leave an open file open."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            yield opened
    else:
        yield file


@contextmanager
def opened_output(file: OutputFile) -> Iterator[BinaryIO]:
    """Open a file that was given by its path. What was written is passed to the system at the end of the block."""
    if isinstance(file, Output):
        with _open(file) as opened:
            yield opened
    else:
        yield file
        if not file.closed:
            file.flush()


def opened_temporary(file: TemporaryHandle) -> BinaryIO:
    """Open a temporary file unless it is open; the caller closes it."""
    return _open(file) if isinstance(file, Temporary) else file


@contextmanager
def packed(call: Any) -> Iterator[tuple[bytes, list[int]]]:
    """Pickle a call and open its files.

    Yields:
        The call for `unpacked`, and the descriptors of its files, which are open within the block.

    Raises:
        OSError: A file cannot be opened.
    """
    with ExitStack() as files:
        buffer = io.BytesIO()
        packer = _Packer(buffer, files)
        packer.dump(call)
        yield buffer.getvalue(), packer.descriptors


@contextmanager
def unpacked(data: bytes, descriptors: Sequence[int]) -> Iterator[Any]:
    """Restore a call, with open files in place of its paths; they are closed at the end of the block.

    Use it on what the caller has packed, and nothing else.
    """
    with ExitStack() as files:
        yield _Unpacker(io.BytesIO(data), descriptors, files).load()


class _Packer(pickle.Pickler):
    """Pickles a path as the number and the mode of the file that it opens."""

    def __init__(self, buffer: io.BytesIO, files: ExitStack) -> None:
        super().__init__(buffer)
        self._files = files
        self.descriptors: list[int] = []

    def persistent_id(self, value: Any) -> tuple[int, str] | None:
        if not isinstance(value, Path | Output | Temporary):
            return None
        file = self._files.enter_context(_open(value))
        self.descriptors.append(file.fileno())
        return len(self.descriptors) - 1, "rb" if isinstance(value, Path) else "r+b"


class _Unpacker(pickle.Unpickler):
    """Opens the files that `_Packer` has numbered."""

    def __init__(self, buffer: io.BytesIO, descriptors: Sequence[int], files: ExitStack) -> None:
        super().__init__(buffer)
        self._descriptors = descriptors
        self._files = files

    def persistent_load(self, key: tuple[int, str]) -> IO[bytes]:
        number, mode = key
        return self._files.enter_context(os.fdopen(self._descriptors[number], mode))


def _open(file: Path | Output | Temporary) -> BinaryIO:
    if isinstance(file, Path):
        return file.open("rb")
    if isinstance(file, Temporary):
        return cast(BinaryIO, TemporaryFile(dir=file.folder))
    return cast(BinaryIO, open(file.path, "w+b", opener=_opener))


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, _MODE)
