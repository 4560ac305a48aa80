"""Reading a mask log, also while it grows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from codec.types import FrameType
from service.storage.mask_log import BLOCK, find_line, offset_of, read_lines
from service.writers.mask_line import frame_line, index_of, mask_of
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
        assert found is None or index_of(found) == wanted


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
    """About one block is read at a time, but a longer line is returned whole."""
    path = tmp_path / "frames"
    long = b'{"index":1,"x":"' + b"y" * (3 * BLOCK) + b'"}'
    path.write_bytes(b'{"index":0}\n' + long + b"\n" + b'{"index":2}\n' * (2 * BLOCK // 12))
    assert read_lines(path, 0) == ([b'{"index":0}'], 12)
    lines, offset = read_lines(path, 12)
    assert (lines, offset) == ([long], 12 + len(long) + 1)
    lines, _ = read_lines(path, offset)
    assert len(lines) == BLOCK // 12


def test_a_mask_survives_the_line_format() -> None:
    """A mask is unchanged after writing it as a line and reading it back."""
    labels = np.random.default_rng(3).choice([0, 0, 2, 200], (37, 53)).astype(np.uint8)
    mask = FrameMask(4, 160, 0.16, FrameType.B, MaskSource.KEY, labels, {2: 0.25, 200: 1.0})
    again = mask_of(json.loads(json.dumps(frame_line(mask))), 53, 37)
    assert (again.labels == labels).all()
    assert (again.index, again.pts, again.time, again.type, again.source, again.scores) == (
        4, 160, 0.16, FrameType.B, MaskSource.KEY, {2: 0.25, 200: 1.0}
    )  # fmt: skip
