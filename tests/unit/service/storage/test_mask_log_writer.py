"""Writing a segment of a mask log."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np

from codec.types import FrameType
from service.storage.mask_log import MaskLog
from vos.types import FrameMask, MaskSource


def mask(index: int) -> FrameMask:
    """Return a mask with many small parts, so its line is long."""
    labels = (np.random.default_rng(index).random((500, 500)) > 0.5).astype(np.uint8)
    return FrameMask(index, index * 10, index / 25, FrameType.P, MaskSource.KEY, labels, {1: 0.5})


def test_each_frame_is_appended_once(tmp_path: Path) -> None:
    """A line is in the file as soon as it is appended; a frame that the log has is not written again."""
    path = tmp_path / "frames-2.ndjson"
    with closing(MaskLog(path, last=1)) as log:
        for index in (0, 1, 2, 3):
            log.append(mask(index))
        assert [json.loads(line)["index"] for line in path.read_bytes().splitlines()] == [2, 3]
        assert (log.last, log.size) == (3, path.stat().st_size)
        log.append(mask(3))
        log.append(mask(4))
        assert path.read_bytes().count(b"\n") == 3
        log.sync()
    assert log.size == path.stat().st_size
