"""`keymask bench` on a small clip."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.cli.main import main
from tests.support.media import write_clip, write_mask


def test_bench_times_every_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result has machine, clip, and per stage milliseconds, frames per second and ratio to plain decoding.

    The progress bar is updated before each stage of each round.
    """
    reported: list[tuple[int, int | None]] = []

    @contextmanager
    def bar(_description: str, _unit: str) -> Iterator[Callable[[int, int | None], None]]:
        yield lambda done, total: reported.append((done, total))

    monkeypatch.setattr("service.cli.commands.bench.progress_bar", bar)
    video, mask = write_clip(tmp_path / "in.mp4", range(0, 160, 40)), write_mask(tmp_path / "mask.png")
    result = tmp_path / "bench.json"
    more = ["--weights", "seeded", "--rounds", "1", "--json", str(result)]
    assert main(["bench", str(video), "--mask", str(mask), *more]) == 0
    timed = json.loads(result.read_text(encoding="utf-8"))
    assert (timed["frames"], timed["rounds"], timed["video"]["size"]) == (4, 1, "64x48")
    assert reported == [(turn, 12) for turn in range(12)]
    stages = ["decode", "decode + motion", "propagated", "repaired", "key", "adaptive"]
    assert [t["stage"] for t in timed["stages"]] == stages
    table = capsys.readouterr().out
    for timing in timed["stages"]:
        assert timing["fps"] == pytest.approx(1000 / timing["milliseconds"], rel=0.2)
        assert timing["stage"] in table
    assert timed["stages"][0]["over_decode"] == 1.0
