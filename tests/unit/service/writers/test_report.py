"""The report file."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np

from codec.types import FrameType
from service.writers.report import ReportWriter
from vos.types import FrameMask, MaskSource

LABELS = np.zeros((2, 2), np.uint8)


def frame_of(index: int) -> FrameMask:
    """A frame with two objects."""
    return FrameMask(index, index * 512, index / 25, FrameType.P, MaskSource.KEY, LABELS, {1: 0.5, 4: 0.75})


def test_the_report_is_the_summary_and_then_the_frames(tmp_path: Path) -> None:
    """The finished file is JSON: the summary's keys, then one entry per frame; nothing else is left in the folder."""
    path = tmp_path / "out" / "report.json"
    writer = ReportWriter(path)
    for index in range(2):
        writer.write(frame_of(index))
    assert not path.exists()
    writer.finish({"complete": True, "nested": {"a": [1]}})
    report = json.loads(path.read_text(encoding="utf-8"))
    assert list(report) == ["complete", "nested", "frames"]
    assert report["frames"] == [
        {"index": i, "pts": i * 512, "time": i / 25, "type": "P", "source": "key", "score": 0.625,
         "scores": {"1": 0.5, "4": 0.75}}
        for i in range(2)
    ]  # fmt: skip
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


def test_a_report_without_frames_is_json_too(tmp_path: Path) -> None:
    """Without frames, the list is empty."""
    writer = ReportWriter(tmp_path / "report.json")
    writer.finish({"complete": False})
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == {"complete": False, "frames": []}


def test_closing_without_finishing_leaves_nothing(tmp_path: Path) -> None:
    """A report that is not finished leaves no file behind."""
    writer = ReportWriter(tmp_path / "report.json")
    writer.write(frame_of(0))
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    """Ten times as many frames take the same memory, within 200 kB."""
    peaks = []
    for count in (500, 5000):
        tracemalloc.start()
        writer = ReportWriter(tmp_path / f"{count}.json")
        for index in range(count):
            writer.write(frame_of(index))
        writer.finish({"complete": True})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000
