"""Reading a mask log, also while it grows and after several attempts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from codec.types import FrameType
from service.errors import RunError
from service.jobs.types import LogSegment
from service.storage.job_files import JobFiles
from service.storage.mask_log import settle
from service.storage.mask_log_view import BLOCK, LongLine, MaskLogView, frame_of
from service.writers.mask_line import encode_line, frame_line, index_of, mask_of, without_masks
from vos.types import FrameMask, MaskSource


def view(folder: Path, *segments: LogSegment) -> MaskLogView:
    """Return the log of the job in this folder; by default the first attempt writes it."""
    return MaskLogView(JobFiles(folder), segments or (LogSegment(1),))


def some_lines(indices: Sequence[int], seed: int = 0) -> list[bytes]:
    """Return one line of random length per index."""
    rng = np.random.default_rng(seed)
    return [f'{{"index":{i},"objects":[{"0," * int(rng.integers(0, 60))}0]}}'.encode() for i in indices]


def write(path: Path, lines: Sequence[bytes]) -> int:
    """Write lines to a file; return its size."""
    return path.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize(
    "indices", [[], [0], [5], list(range(40)), [3, 4, 9, 10, 11, 50], list(range(100, 300, 7)), [10**9, 10**9 + 1]]
)
def test_a_log_of_segments_reads_like_one_file(tmp_path: Path, indices: list[int], parts: int) -> None:
    """Offsets, lines and frames are those of the concatenation; what a segment has beyond its bytes does not count."""
    lines = some_lines(indices)
    files = JobFiles(tmp_path)
    segments = []
    for number in range(1, parts + 1):
        mine = lines[len(lines) * (number - 1) // parts : len(lines) * number // parts]
        size = write(files.mask_log(number), mine)
        segments.append(LogSegment(number, size if number < parts else None))
        if number < parts:
            with files.mask_log(number).open("ab") as file:
                file.write(b'{"index":7,"late":true}\n{"index":8,"la')
    log = view(tmp_path, *segments)
    assert log.size() == sum(len(line) + 1 for line in lines)
    assert list(log.iter_lines()) == [json.loads(line) for line in lines]
    for wanted in sorted({0, 1, *indices, *(i + 1 for i in indices), 10**9 + 5}):
        offset = sum(len(line) + 1 for line in lines if index_of(line) < wanted)
        assert log.offset_of(wanted) == offset
        found = log.find_line(wanted)
        assert (found is not None) is (wanted in indices)
        assert found is None or frame_of(found) == wanted
    read: list[bytes] = []
    offset = 0
    while offset < log.size():
        some, offset = log.read_lines(offset)
        read += some
    assert read == lines


def test_an_incomplete_line_is_not_returned(tmp_path: Path) -> None:
    """Only lines that end in a newline are returned; the last line follows once it is complete."""
    log, path = view(tmp_path), JobFiles(tmp_path).mask_log(1)
    lines = some_lines([0, 1])
    size = write(path, lines)
    with path.open("ab") as file:
        file.write(b'{"index":2,"obj')
    assert log.read_lines(0) == (lines, size)
    assert log.read_lines(size) == ([], size)
    assert (log.offset_of(2), log.find_line(2)) == (size, None)
    assert len(list(log.iter_lines())) == 2
    with path.open("ab") as file:
        file.write(b'ects":[]}\n')
    assert log.read_lines(size)[0] == [b'{"index":2,"objects":[]}']


def test_a_log_that_was_started_over_is_detected(tmp_path: Path) -> None:
    """An offset beyond the end of the log returns -1, and a missing file counts as empty."""
    log, path = view(tmp_path), JobFiles(tmp_path).mask_log(1)
    assert (log.read_lines(0), log.offset_of(3), log.find_line(0)) == (([], 0), 0, None)
    size = write(path, some_lines([0]))
    assert log.read_lines(10_000) == ([], -1)
    path.unlink()
    assert log.read_lines(10) == ([], -1)
    taken_over = view(tmp_path, LogSegment(1, size), LogSegment(2))
    assert taken_over.continues(log)
    assert not view(tmp_path, LogSegment(2)).continues(log)
    assert not log.continues(taken_over)


def test_a_job_from_before_there_were_fences_is_read(tmp_path: Path) -> None:
    """Its masks are in a file without a number."""
    (tmp_path / "frames.ndjson").write_bytes(b'{"index":0}\n')
    assert view(tmp_path, LogSegment(0)).find_line(0) == b'{"index":0}'


def test_long_logs_are_read_in_blocks(tmp_path: Path) -> None:
    """About one block is read at a time. A longer line is read in pieces, and known by its head."""
    long = b'{"index":1,"objects":[{"id":3,"rle":{"size":[9,9],"counts":"' + b"y" * (3 * BLOCK) + b'"},"area":5}]}'
    files = JobFiles(tmp_path)
    size = files.mask_log(1).write_bytes(b'{"index":0}\n')
    files.mask_log(2).write_bytes(long + b"\n" + b'{"index":2}\n' * (2 * BLOCK // 12))
    log = view(tmp_path, LogSegment(1, size), LogSegment(2))
    assert log.read_lines(0) == ([b'{"index":0}'], 12)
    assert log.read_lines(12) == ([], 12)
    found = log.read_long_line(12)
    assert found == LongLine(12, len(long), 12 + len(long) + 1, b'{"index":1,"objects":[{"id":3,"area":5}]}')
    pieces = [log.read_piece(*piece) for piece in found.pieces()]
    assert (b"".join(pieces), max(map(len, pieces))) == (long, BLOCK)
    assert log.digest_of(found) == hashlib.sha256(long).hexdigest()
    assert log.find_line(1) == found
    lines, _ = log.read_lines(12 + len(long) + 1)
    assert len(lines) == BLOCK // 12


@pytest.mark.parametrize("masks", [5, BLOCK - 75, BLOCK - 74, 3 * BLOCK])
@pytest.mark.parametrize("soft", [5, 3 * BLOCK])
def test_soft_masks_are_not_among_the_lines(tmp_path: Path, masks: int, soft: int) -> None:
    """However long both are, readers see the line without soft masks, and go on after its end."""
    line = b'{"index":1,"objects":[{"id":3,"rle":{"size":[9,9],"counts":"' + b"y" * masks + b'"},"area":5}]}'
    path = JobFiles(tmp_path).mask_log(1)
    path.write_bytes(line + b"\t" + b"s" * soft + b"\n" + b'{"index":2}\n')
    log, end = view(tmp_path), len(line) + soft + 2
    lines, after = log.read_lines(0)
    if lines:
        assert lines[0] == line
        assert log.read_lines(end) == ([b'{"index":2}'], log.size())
    else:
        long = log.read_long_line(0)
        assert long == LongLine(0, len(line), end, b'{"index":1,"objects":[{"id":3,"area":5}]}')
        assert b"".join(log.read_piece(*piece) for piece in long.pieces()) == line
        assert log.digest_of(long) == hashlib.sha256(line).hexdigest()
        after = long.end
    assert (after in (end, log.size()), log.find_line(2)) == (True, b'{"index":2}')
    assert log.offset_of(2) == end


def test_a_long_line_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    """A long line counts once it is complete; if the job is started over, its pieces cannot be read."""
    log, path = view(tmp_path), JobFiles(tmp_path).mask_log(1)
    path.write_bytes(b'{"index":0,"x":"' + b"y" * (2 * BLOCK))
    assert log.read_long_line(0) is None
    with path.open("ab") as file:
        file.write(b'"}\n')
    line = log.read_long_line(0)
    assert line is not None
    path.write_bytes(b"")
    with pytest.raises(RunError, match="cut off"):
        log.read_piece(*next(line.pieces()))


def test_the_share_of_masks_without_soft_masks(tmp_path: Path) -> None:
    """It is that of the first lines, and 1 where there is nothing to measure."""
    path = JobFiles(tmp_path).mask_log(1)
    path.write_bytes((b"a" * 24 + b"\t" + b"s" * 74 + b"\n") * 10)
    assert view(tmp_path).share_of_masks() == 0.25
    path.write_bytes(b"")
    assert view(tmp_path).share_of_masks() == 1.0


class TestSettle:
    """What counts of the log of a job whose worker is gone."""

    @pytest.mark.parametrize("tail", [b"", b'{"index":3,"ob', b"garbage\n", bytes(5000) + b"\n" + bytes(10)])
    def test_only_valid_lines_count(self, tmp_path: Path, tail: bytes) -> None:
        """A line that was not finished and what a power cut leaves are no masks; the file itself stays as it is."""
        path = JobFiles(tmp_path).mask_log(1)
        size = write(path, some_lines([0, 1, 2]))
        with path.open("ab") as file:
            file.write(tail)
        assert settle(JobFiles(tmp_path), (LogSegment(1),)) == ((LogSegment(1, size),), 2)
        assert path.stat().st_size == size + len(tail)

    @pytest.mark.parametrize("content", [b"", b"\n", b"garbage", b'{"no": 1}\n', bytes(9)])
    def test_a_file_without_a_valid_line_does_not_count(self, tmp_path: Path, content: bytes) -> None:
        """It is no segment, and neither is a missing file."""
        JobFiles(tmp_path).mask_log(1).write_bytes(content)
        assert settle(JobFiles(tmp_path), (LogSegment(1), LogSegment(2))) == ((), -1)

    def test_lines_after_a_hole_do_not_count(self, tmp_path: Path) -> None:
        """After a power cut, a page in the middle may be missing while later ones have reached the disk."""
        path, lines = JobFiles(tmp_path).mask_log(1), some_lines(list(range(6)))
        write(path, lines)
        start = sum(len(line) + 1 for line in lines[:3])
        with path.open("r+b") as file:
            file.seek(start + 5)
            file.write(bytes(10))
        assert settle(JobFiles(tmp_path), (LogSegment(1),)) == ((LogSegment(1, start),), 2)

    def test_later_lines_of_a_closed_segment_do_not_count(self, tmp_path: Path) -> None:
        """A worker that wakes up after it lost the job adds nothing."""
        files = JobFiles(tmp_path)
        size = write(files.mask_log(1), some_lines([0, 1]))
        later = write(files.mask_log(2), some_lines([2, 3, 4]))
        with files.mask_log(1).open("ab") as file:
            file.write(b'{"index":2}\n')
        assert settle(files, (LogSegment(1, size), LogSegment(2))) == ((LogSegment(1, size), LogSegment(2, later)), 4)

    def test_nothing_counts_after_a_damaged_segment(self, tmp_path: Path) -> None:
        """If a segment has lost lines, those after the gap are of no use."""
        files = JobFiles(tmp_path)
        lines = some_lines([0, 1])
        size = write(files.mask_log(1), lines)
        write(files.mask_log(2), some_lines([2]))
        files.mask_log(1).write_bytes(files.mask_log(1).read_bytes()[: size - 3])
        expected = (LogSegment(1, len(lines[0]) + 1),)
        assert settle(files, (LogSegment(1, size), LogSegment(2))) == (expected, 0)


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
