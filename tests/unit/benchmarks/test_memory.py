"""The repeated video of the memory benchmark, and its rows."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from benchmarks.speed import memory
from codec import open_video
from vos.evaluation.davis import Sequence, find_sequences

COUNT, HEIGHT, WIDTH = 5, 480, 640


@pytest.fixture
def sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sequence:
    """A square that moves right by 60 pixels per picture."""
    monkeypatch.setattr(memory, "HEIGHT", 240)
    for index in range(COUNT):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[160:320, 80 + 60 * index : 240 + 60 * index] = 255
        for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            folder = tmp_path / kind / "480p" / "square"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(folder / f"{index:05d}.{suffix}")
    return find_sequences(tmp_path)[0]


def lefts(content: bytes | Path) -> list[int]:
    """Return the left edge of the bright square in each frame, in pixels."""
    with av.open(BytesIO(content) if isinstance(content, bytes) else content) as container:
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return [int(np.argmax(picture[120] > 128)) for picture in pictures]


def test_a_turn_goes_forwards_and_backwards(sequence: Sequence) -> None:
    """At half size the square moves right by 30 pixels per picture and back; no picture repeats where turns meet."""
    film = memory.Film.of(sequence, COUNT)
    wanted = [40, 70, 100, 130, 160, 130, 100, 70]
    assert lefts(film.turn) == pytest.approx(wanted, abs=2)
    assert [int(np.argmax(truth[120])) for truth in film.truth] == wanted
    assert film.truth[0].shape == (240, 320)
    assert np.unique(film.truth[0]).tolist() == [0, 1]


def test_turns_follow_each_other_without_another_encoding(sequence: Sequence, tmp_path: Path) -> None:
    """The long video repeats the pictures of the turn, and each turn starts with an I frame."""
    film = memory.Film.of(sequence, COUNT)
    memory.repeat(film.turn, tmp_path / "long.mkv", 19)
    turn = lefts(film.turn)
    found = lefts(tmp_path / "long.mkv")
    assert len(found) == 19
    assert found[:17] == [*turn, *turn, turn[0]]
    with open_video(tmp_path / "long.mkv") as video:
        frames = list(video)
    assert sorted(frame.index for frame in frames) == list(range(19))
    assert [frame.type.value for frame in frames].count("I") == 3


def test_growth_compares_the_long_run_with_the_short_run() -> None:
    """400 MiB for 500 frames and 410 MiB for 5,000 make 1.025; the note holds J of the last turn."""
    growth, later, peak = memory.rows(
        {5000: memory.Run(410.0, 0.91), 500: memory.Run(400.0, 0.95), 1500: memory.Run(405.0, 0.95)}
    )
    assert later.measured.median == pytest.approx(410 / 405, abs=1e-4)
    assert (growth.measured.median, growth.met, peak.measured.median) == (1.025, True, 410)
    assert "J of the last turn 0.91" in growth.note


def test_a_failing_command_is_named(tmp_path: Path) -> None:
    """The message contains the command's own error."""
    with pytest.raises(RuntimeError, match=r"keymask run ended with \d+: .*nothing\.mkv"):
        memory.peak_mib(["run", tmp_path / "nothing.mkv", "--mask", tmp_path / "m.png", "--out", tmp_path / "out"])
