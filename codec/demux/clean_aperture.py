"""Read the clean aperture of MP4 and QuickTime files: the part of the decoded picture that players show.

FFmpeg's Python binding does not export it, so the boxes are read here (ISO/IEC 14496-12, clause 12.1.4, `clap`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

_TOP_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_MAX_BOXES = 4096
_TRACK_HEADER_BYTES = 24
_VISUAL_ENTRY_BYTES = 78
"""Fields of a VisualSampleEntry before its boxes, after size and type."""
_CLAP_BYTES = 32


@dataclass(frozen=True, slots=True)
class CleanAperture:
    """A `clap` box.

    Attributes:
        width, height: Size in pixels.
        right, down: Offset of its center from the picture's center in pixels.
    """

    width: Fraction
    height: Fraction
    right: Fraction
    down: Fraction

    def within(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """Return (x, y, width, height) in whole pixels of a picture; None if it is all of it, or not inside."""
        size = (round(self.width), round(self.height))
        x = round((width - self.width) / 2 + self.right)
        y = round((height - self.height) / 2 + self.down)
        inside = x >= 0 and y >= 0 and min(size) > 0 and x + size[0] <= width and y + size[1] <= height
        return (x, y, *size) if inside and size != (width, height) else None


def read_clean_apertures(file: BinaryIO) -> dict[int, CleanAperture]:
    """Read the clean aperture of each track of a seekable file, by track id; empty for other formats.

    The file's position changes. A damaged file gives what was found before the damage.
    """
    file.seek(0)
    if file.read(8)[4:] not in _TOP_BOXES:
        return {}
    end = file.seek(0, os.SEEK_END)
    found: dict[int, CleanAperture] = {}
    try:
        for start, stop in _boxes(file, 0, end, b"moov"):
            for track in _boxes(file, start, stop, b"trak"):
                aperture = _clean_aperture(file, *track)
                if aperture is not None:
                    found[_track_id(file, *track)] = aperture
    except (struct.error, StopIteration):
        pass
    return found


def _boxes(file: BinaryIO, start: int, end: int, kind: bytes) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the content of each box of a kind, among the boxes between two positions."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        size, found = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,), head = struct.unpack(">Q", file.read(8)), 16
        stop = end if size == 0 else start + size
        if stop < start + head or stop > end:
            return
        if found == kind:
            yield start + head, stop
        start = stop


def _clean_aperture(file: BinaryIO, start: int, end: int) -> CleanAperture | None:
    for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
        inner = next(_boxes(file, start, end, kind), None)
        if inner is None:
            return None
        start, end = inner
    start += 8  # version, flags and number of entries
    file.seek(start)
    size, _codec = struct.unpack(">I4s", file.read(8))
    entry_end = min(end, start + size)
    clap = next(_boxes(file, start + 8 + _VISUAL_ENTRY_BYTES, entry_end, b"clap"), None)
    if clap is None:
        return None
    file.seek(clap[0])
    values = struct.unpack(">IIIIiIiI", file.read(_CLAP_BYTES))
    if not all(values[1::2]):
        return None
    return CleanAperture(*(Fraction(*values[i : i + 2]) for i in range(0, 8, 2)))


def _track_id(file: BinaryIO, start: int, end: int) -> int:
    at, _ = next(_boxes(file, start, end, b"tkhd"))
    file.seek(at)
    header = file.read(_TRACK_HEADER_BYTES)
    (number,) = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)
    return int(number)
