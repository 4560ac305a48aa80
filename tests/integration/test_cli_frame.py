"""`keymask frame` as users see it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.displayed_frame import read_displayed_frame
from service.cli.main import main
from tests.support.media import write_clip


def test_a_frame_is_written_in_the_size_of_its_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The PNG has exactly the displayed frame; the text has its size and the command that comes next."""
    clip, out = write_clip(tmp_path / "my clip.mp4", rotation=90), tmp_path / "frame.png"
    assert main(["frame", str(clip), "5", "--out", str(out), "--json", str(tmp_path / "frame.json")]) == 0
    with Image.open(out) as picture:
        assert np.array_equal(np.asarray(picture), read_displayed_frame(clip, 5).rgb)
    text = capsys.readouterr().out
    assert "48x64: frame 5, at 0.200 s" in text
    assert f"keymask run '{clip}' --prompt-frame 5 --box 12,16,24,32 --out" in text
    values = json.loads((tmp_path / "frame.json").read_text(encoding="utf-8"))
    assert (values["index"], values["width"], values["height"], values["picture"]) == (5, 48, 64, str(out))


def test_a_picture_of_a_folder_is_written(tmp_path: Path) -> None:
    """A folder of numbered pictures works like a video; the first frame is the default."""
    for number in (3, 4):
        Image.new("RGB", (20, 10), (50 * number, 0, 0)).save(tmp_path / f"{number}.png")
    (tmp_path / "out").mkdir()
    assert main(["frame", str(tmp_path), "--out", str(tmp_path / "out" / "first.png")]) == 0
    with Image.open(tmp_path / "out" / "first.png") as picture:
        assert (picture.size, picture.getpixel((0, 0))) == ((20, 10), (150, 0, 0))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["12", "--out", "new.png"], "frame 12 does not exist: the video has 12 frames, 0 to 11"),
        (["-1", "--out", "new.png"], "-1"),
        (["--out", "new.jpg"], "must end in .png"),
        (["--out", "old.png"], "replace it with --force"),
        (["--out", "nowhere/new.png"], "nowhere does not exist"),
        (["--out", "new.png", "--json", "new.png"], "are both"),
        ([], "--out"),
    ],
)
def test_bad_requests_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str], said: str
) -> None:
    """Exit code 2, one line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4")
    (tmp_path / "old.png").write_bytes(b"old")
    assert main(["frame", "clip.mp4", *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"
