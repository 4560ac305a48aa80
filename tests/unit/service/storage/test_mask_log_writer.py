"""The file of masks after interruptions."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from codec.types import FrameType
from service.storage.mask_log import MaskLog
from vos.types import FrameMask, MaskSource


def mask(index: int) -> FrameMask:
    """A mask with many small parts, so that its line is long."""
    labels = (np.random.default_rng(index).random((500, 500)) > 0.5).astype(np.uint8)
    return FrameMask(index, index * 10, index / 25, FrameType.P, MaskSource.KEY, labels, {1: 0.5})


def written(path: Path, indices: range) -> bytes:
    """A file with these frames."""
    with closing(MaskLog(path)) as log:
        for index in indices:
            log.append(mask(index))
    return path.read_bytes()


def test_frames_are_appended_once_and_in_whole_lines(tmp_path: Path) -> None:
    """Lines are there as soon as they are appended; those that exist already are not written again."""
    path = tmp_path / "frames.ndjson"
    whole = written(path, range(2, 6))
    assert [json.loads(line)["index"] for line in whole.splitlines()] == [2, 3, 4, 5]
    with closing(MaskLog(path)) as log:
        assert log.last == 5
        log.append(mask(4))
        log.append(mask(6))
        assert path.read_bytes().count(b"\n") == 5
        log.sync()
    assert path.read_bytes().startswith(whole)


@pytest.mark.parametrize("lost", [1, 100, 40_000])
def test_a_line_that_was_not_finished_is_cut_off(tmp_path: Path, lost: int) -> None:
    """The frame is written anew, to the same file as without the interruption."""
    path = tmp_path / "frames.ndjson"
    whole = written(path, range(3))
    assert len(whole.splitlines()[-1]) > 1 << 16
    path.write_bytes(whole[:-lost])
    with closing(MaskLog(path)) as log:
        assert log.last == 1
        log.append(mask(2))
    assert path.read_bytes() == whole


def test_a_tail_of_zeros_is_cut_off(tmp_path: Path) -> None:
    """As a file may end after a power cut."""
    path = tmp_path / "frames.ndjson"
    whole = written(path, range(2))
    path.write_bytes(whole + bytes(5000) + b"\n" + bytes(10))
    with closing(MaskLog(path)) as log:
        assert log.last == 1
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"\n", b"garbage", b'{"no": 1}\n', bytes(9)])
def test_a_file_without_a_good_line_is_empty(tmp_path: Path, content: bytes) -> None:
    """Nothing of it is kept."""
    path = tmp_path / "frames.ndjson"
    path.write_bytes(content)
    with closing(MaskLog(path)) as log:
        assert log.last == -1
    assert path.read_bytes() == b""


def test_starting_over_empties_the_file(tmp_path: Path) -> None:
    """After `clear` the first frame is the file's first."""
    path = tmp_path / "frames.ndjson"
    written(path, range(4))
    with closing(MaskLog(path)) as log:
        log.clear()
        log.append(mask(1))
    assert path.read_bytes() == written(tmp_path / "other", range(1, 2))
