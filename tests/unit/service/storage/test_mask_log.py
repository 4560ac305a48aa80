"""Reading a mask log, also while it grows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from codec.types import FrameType
from service.errors import RunError
from service.storage.mask_log import (
    BLOCK,
    LongLine,
    find_line,
    frame_of,
    offset_of,
    pieces_of,
    read_lines,
    read_long_line,
    read_piece,
)
from service.writers.mask_line import encode_line, frame_line, index_of, mask_of, without_masks
from vos.types import FrameMask, MaskSource


def write(path: Path, indices: list[int], seed: int = 0) -> list[bytes]:
    """Write a file with one line of random length per index; return the lines."""
    rng = np.random.default_rng(seed)
    lines = [f'{{"index":{i},"objects":[{"0," * int(rng.integers(0, 60))}0]}}'.encode() for i in indices]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return lines


@pytest.mark.parametrize(
    "indices", [[], [0], [5], list(range(40)), [3, 4, 9, 10, 11, 50], list(range(100, 300, 7)), [10**9, 10**9 + 1]]
)
def test_bisection_finds_the_same_line_as_a_linear_search(tmp_path: Path, indices: list[int]) -> None:
    """`offset_of` returns the offset of the first line with at least the given index."""
    path = tmp_path / "frames"
    lines = write(path, indices)
    for wanted in sorted({0, 1, *indices, *(i + 1 for i in indices), 10**9 + 5}):
        offset = 0
        for line in lines:
            if index_of(line) >= wanted:
                break
            offset += len(line) + 1
        assert offset_of(path, wanted) == offset
        found = find_line(path, wanted)
        assert (found is not None) is (wanted in indices)
        assert found is None or frame_of(found) == wanted


def test_an_incomplete_line_is_not_returned(tmp_path: Path) -> None:
    """Only lines that end in a newline are returned; the last line follows once it is complete."""
    path = tmp_path / "frames"
    lines = write(path, [0, 1])
    with path.open("ab") as file:
        file.write(b'{"index":2,"obj')
    assert read_lines(path, 0) == (lines, sum(len(line) + 1 for line in lines))
    _, offset = read_lines(path, 0)
    assert read_lines(path, offset) == ([], offset)
    assert (offset_of(path, 2), find_line(path, 2)) == (offset, None)
    with path.open("ab") as file:
        file.write(b'ects":[]}\n')
    assert read_lines(path, offset)[0] == [b'{"index":2,"objects":[]}']


def test_a_log_that_was_started_over_is_detected(tmp_path: Path) -> None:
    """An offset beyond the end of the file returns -1, and a missing file counts as empty."""
    path = tmp_path / "frames"
    assert (read_lines(path, 0), offset_of(path, 3), find_line(path, 0)) == (([], 0), 0, None)
    write(path, [0])
    assert read_lines(path, 10_000) == ([], -1)
    path.unlink()
    assert read_lines(path, 10) == ([], -1)


def test_long_logs_are_read_in_blocks(tmp_path: Path) -> None:
    """About one block is read at a time. A longer line is read in pieces, and known by its head."""
    path = tmp_path / "frames"
    long = b'{"index":1,"objects":[{"id":3,"rle":{"size":[9,9],"counts":"' + b"y" * (3 * BLOCK) + b'"},"area":5}]}'
    path.write_bytes(b'{"index":0}\n' + long + b"\n" + b'{"index":2}\n' * (2 * BLOCK // 12))
    assert read_lines(path, 0) == ([b'{"index":0}'], 12)
    assert read_lines(path, 12) == ([], 12)
    found = read_long_line(path, 12)
    assert found == LongLine(12, len(long), b'{"index":1,"objects":[{"id":3,"area":5}]}')
    pieces = [read_piece(path, *piece) for piece in pieces_of(found)]
    assert (b"".join(pieces), max(map(len, pieces))) == (long + b"\n", BLOCK)
    assert find_line(path, 1) == found
    lines, _ = read_lines(path, 12 + len(long) + 1)
    assert len(lines) == BLOCK // 12


def test_a_long_line_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    """A long line counts once it is complete; if the job is started over, its pieces cannot be read."""
    path = tmp_path / "frames"
    path.write_bytes(b'{"index":0,"x":"' + b"y" * (2 * BLOCK))
    assert read_long_line(path, 0) is None
    with path.open("ab") as file:
        file.write(b'"}\n')
    line = read_long_line(path, 0)
    assert line is not None
    path.write_bytes(b"")
    with pytest.raises(RunError, match="cut off"):
        read_piece(path, *next(pieces_of(line)))


def test_the_head_of_a_line_is_the_line_without_encodings() -> None:
    """Whatever bytes the counts have, the line without them equals what a parser finds."""
    rng = np.random.default_rng(5)
    labels = np.zeros((310, 420), np.uint8)
    for number in range(200):  # runs of every length, so that the counts contain every character
        top, left, height, width = rng.integers(1, 200, 4)
        labels[top : top + height, left : left + width] = number % 4
    mask = FrameMask(7, None, 0.5, FrameType.P, MaskSource.KEY, labels, {1: 0.5, 2: 1.0, 3: 0.25})
    line = encode_line(mask)
    assert b"\\\\" in line
    values = json.loads(line)
    for item in values["objects"]:
        del item["rle"]
    assert json.loads(without_masks(line)) == values


def test_a_mask_survives_the_line_format() -> None:
    """A mask is unchanged after writing it as a line and reading it back."""
    labels = np.random.default_rng(3).choice([0, 0, 2, 200], (37, 53)).astype(np.uint8)
    mask = FrameMask(4, 160, 0.16, FrameType.B, MaskSource.KEY, labels, {2: 0.25, 200: 1.0})
    again = mask_of(json.loads(json.dumps(frame_line(mask))), 53, 37)
    assert (again.labels == labels).all()
    assert (again.index, again.pts, again.time, again.type, again.source, again.scores) == (
        4, 160, 0.16, FrameType.B, MaskSource.KEY, {2: 0.25, 200: 1.0}
    )  # fmt: skip
