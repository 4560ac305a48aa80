"""Writing a mask log, also after interruptions."""

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
    """Return a mask with many small parts, so its line is long."""
    labels = (np.random.default_rng(index).random((500, 500)) > 0.5).astype(np.uint8)
    return FrameMask(index, index * 10, index / 25, FrameType.P, MaskSource.KEY, labels, {1: 0.5})


def written(path: Path, indices: range) -> bytes:
    """Write a log of these frames and return its bytes."""
    with closing(MaskLog(path)) as log:
        for index in indices:
            log.append(mask(index))
    return path.read_bytes()


def test_each_frame_is_appended_once(tmp_path: Path) -> None:
    """A line is in the file as soon as it is appended; a frame that the log has is not written again."""
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
def test_an_incomplete_line_is_cut_off(tmp_path: Path, lost: int) -> None:
    """Appending the frame again produces the same file as without the interruption."""
    path = tmp_path / "frames.ndjson"
    whole = written(path, range(3))
    assert len(whole.splitlines()[-1]) > 1 << 16
    path.write_bytes(whole[:-lost])
    with closing(MaskLog(path)) as log:
        assert log.last == 1
        log.append(mask(2))
    assert path.read_bytes() == whole


def test_a_tail_of_zeros_is_cut_off(tmp_path: Path) -> None:
    """A file may end in zeros after a power cut."""
    path = tmp_path / "frames.ndjson"
    whole = written(path, range(2))
    path.write_bytes(whole + bytes(5000) + b"\n" + bytes(10))
    with closing(MaskLog(path)) as log:
        assert log.last == 1
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"\n", b"garbage", b'{"no": 1}\n', bytes(9)])
def test_a_file_without_a_valid_line_becomes_empty(tmp_path: Path, content: bytes) -> None:
    """All its content is removed."""
    path = tmp_path / "frames.ndjson"
    path.write_bytes(content)
    with closing(MaskLog(path)) as log:
        assert log.last == -1
    assert path.read_bytes() == b""


def test_clear_empties_the_file(tmp_path: Path) -> None:
    """After `clear`, any frame can be appended as the first one."""
    path = tmp_path / "frames.ndjson"
    written(path, range(4))
    with closing(MaskLog(path)) as log:
        log.clear()
        log.append(mask(1))
    assert path.read_bytes() == written(tmp_path / "other", range(1, 2))
