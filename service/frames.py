"""Reads the file of masks (`JobFiles.frames`, one line of JSON a frame, indices ascending) also while it grows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pycocotools import mask as coco

from codec.types import FrameType, UInt8Array
from vos.types import FrameMask, Source

BLOCK = 1 << 18
"""Bytes that are read at a time."""
_INDEX = re.compile(rb'\{"index":\s*(\d+)')


def index_of(line: bytes) -> int:
    """Presentation index of the frame that a line describes."""
    match = _INDEX.match(line)
    if match is None:
        raise ValueError(f"a line of masks begins with {line[:40]!r}")
    return int(match[1])


def read_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Whole lines from `offset` on, about `BLOCK` bytes of them (at least one line if there is one).

    Returns:
        The lines without their newlines, and the offset after them; -1 if the file has become shorter than `offset`,
        as when a job is started over.
    """
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < offset:
                return [], -1
            file.seek(offset)
            block = file.read(BLOCK)
            if len(block) == BLOCK and b"\n" not in block:
                block += file.readline()
    except FileNotFoundError:
        return [], -1 if offset else 0
    end = block.rfind(b"\n") + 1
    return block[:end].splitlines(), offset + end


def offset_of(path: Path, index: int) -> int:
    """Offset of the first line whose frame is not before `index`, found by bisection; the end if there is none yet."""
    try:
        with path.open("rb") as file:
            low, high = 0, file.seek(0, os.SEEK_END)
            while low < high:
                middle = (low + high) // 2
                _, line = _line_from(file, middle)
                if line.endswith(b"\n") and index_of(line) < index:
                    low = middle + 1
                else:
                    high = middle
            return _line_from(file, low)[0]
    except FileNotFoundError:
        return 0


def _line_from(file: BinaryIO, place: int) -> tuple[int, bytes]:
    """The first line that begins at `place` or after it: its offset and bytes."""
    file.seek(max(0, place - 1))
    if place:
        file.readline()
    return file.tell(), file.readline()


def find_line(path: Path, index: int) -> bytes | None:
    """The line of a frame, None if it is not there (yet)."""
    lines, _ = read_lines(path, offset_of(path, index))
    return lines[0] if lines and index_of(lines[0]) == index else None


def each_line(path: Path) -> Iterator[dict[str, Any]]:
    """All lines of a finished file, parsed."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def labels_of(line: dict[str, Any], width: int, height: int) -> UInt8Array:
    """Labels uint8 [height, width] of a parsed line; 0 is the background."""
    labels = np.zeros((height, width), np.uint8)
    for entry in line["objects"]:
        rle = {"size": entry["rle"]["size"], "counts": entry["rle"]["counts"].encode("ascii")}
        labels[coco.decode(rle) > 0] = entry["id"]
    return labels


def mask_of(line: dict[str, Any], width: int, height: int) -> FrameMask:
    """A parsed line as the record that result writers take."""
    return FrameMask(
        index=line["index"],
        pts=line["pts"],
        time=line["time"],
        type=FrameType(line["type"]),
        source=Source(line["source"]),
        labels=labels_of(line, width, height),
        scores={entry["id"]: entry["score"] for entry in line["objects"]},
    )
