"""Find and read the numbered pictures of a folder, such as DAVIS's `JPEGImages/480p/SEQUENCE`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from codec.errors import BrokenStreamError, UnreadableError
from codec.types import UInt8Array

_CODECS = {".jpg": "mjpeg", ".jpeg": "mjpeg", ".png": "png"}
"""FFmpeg's name of the codec by file suffix."""
_NUMBER = re.compile(r"(\d+)$")


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """Picture files in presentation order. Iteration reads them one by one.

    Attributes:
        files: JPEG or PNG files, at least one.
        missing: Numbers missing between the first and the last file; empty if the names have no numbers.
    """

    files: tuple[Path, ...]
    missing: tuple[int, ...] = ()

    @property
    def codec(self) -> str:
        """FFmpeg's name of the first file's codec."""
        return _CODECS.get(self.files[0].suffix.lower(), "rawvideo")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> UInt8Array:
        """Return a picture as iteration does."""
        return _read(self.files[index], index)

    def __iter__(self) -> Iterator[UInt8Array]:
        """Yield RGB pictures uint8 [height, width, 3].

        Raises:
            UnreadableError: The first file is not a picture.
            BrokenStreamError: A later file is not a picture.
        """
        for index, file in enumerate(self.files):
            yield _read(file, index)


def find_pictures(folder: Path) -> PictureFiles:
    """List the JPEG and PNG files of a folder by the number at the end of their names, or by name.

    Raises:
        UnreadableError: The folder has no picture, or two with the same number.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _CODECS)
    if not files:
        raise UnreadableError(f"'{folder}' has no JPEG or PNG picture; expected files such as 00000.jpg")
    found = [_NUMBER.search(file.stem) for file in files]
    numbers = [int(match[1]) for match in found if match]
    if len(numbers) < len(files):
        return PictureFiles(tuple(files))
    order = sorted(zip(numbers, files, strict=True))
    for (number, file), (following, other) in pairwise(order):
        if number == following:
            raise UnreadableError(f"'{folder}' has two pictures with number {number}: {file.name} and {other.name}")
    missing = sorted(set(range(order[0][0], order[-1][0])) - set(numbers))
    return PictureFiles(tuple(file for _, file in order), tuple(missing))


def spans(numbers: Iterable[int]) -> str:
    """Format ascending numbers as ranges, such as "3, 7 to 9"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join(" to ".join(map(str, part)) for part in parts)


def _read(file: Path, index: int) -> UInt8Array:
    try:
        picture = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        picture = None
    if picture is None:
        message = f"'{file}' is not a picture that can be read"
        raise BrokenStreamError(f"{message}; it is picture {index}", index) if index else UnreadableError(message)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
