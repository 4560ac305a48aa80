"""`keymask run --box` and `--points`: a run without a mask file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.cli.main import main
from service.prompts.made_mask import make_mask
from service.prompts.shapes import ShapePrompt
from service.run.source.video_input import read_frame
from tests.support.media import write_clip, write_mask


def test_a_run_from_a_box_writes_the_mask_that_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """prompt.png has the mask, the report names the file, and a second run with it gives the same first mask."""
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    more = ["--weights", "seeded", "--start", "2", "--end", "3", "--prompt-frame", "2"]
    marks = ["--box", "10,8,30,60:a dog", "--points", "50,20", "--labels", "2=kite"]
    assert main(["run", str(clip), *marks, "--out", str(out), *more]) == 0
    shapes = (ShapePrompt(object=1, box=(10, 8, 30, 60)), ShapePrompt(object=2, points=((50, 20, 1),)))
    made = make_mask(read_frame(clip, 2).rgb, shapes)
    with Image.open(out / "prompt.png") as prompt, Image.open(out / "masks" / "00002.png") as first:
        assert np.array_equal(np.asarray(prompt), made.labels)
        assert np.array_equal(np.asarray(first), made.labels)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["options"]["labels"] == {"1": "a dog", "2": "kite"}
    assert report["outputs"]["prompt"] == str(out / "prompt.png")
    assert [note for note in report["notes"] if note in made.notes] == list(made.notes)
    assert str(out / "prompt.png") in capsys.readouterr().out
    assert main(["run", str(clip), "--box", "1,1,9,9", "--out", str(out), *more]) == 2
    assert "prompt.png" in capsys.readouterr().err
    again = tmp_path / "again"
    assert main(["run", str(clip), "--mask", str(out / "prompt.png"), "--out", str(again), *more]) == 0
    with Image.open(again / "masks" / "00002.png") as first:
        assert np.array_equal(np.asarray(first), made.labels)


def test_prompts_on_several_frames_both_ways(tmp_path: Path) -> None:
    """Every frame gets a mask, marked frames are as given, a box with a known name marks the same object."""
    clip, out = write_clip(tmp_path / "clip.mp4"), tmp_path / "out"
    mask = write_mask(tmp_path / "fix.png")
    marks = ["--box", "2@10,8,30,30:dog", "--prompt", f"5={mask}", "--box", "7@12,8,30,30:dog"]
    arguments = ["run", str(clip), *marks, "--direction", "both", "--out", str(out), "--weights", "seeded"]
    assert main([*arguments, "--end", "8"]) == 0
    with Image.open(mask) as given, Image.open(out / "masks" / "00005.png") as found:
        assert np.array_equal(np.asarray(given), np.asarray(found))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [frame["index"] for frame in report["frames"]] == list(range(8))
    assert [frame["index"] for frame in report["frames"] if frame["source"] == "prompt"] == [2, 5, 7]
    assert [item["object"] for item in report["prompt"]] == [1]
    assert any("propagated backwards" in note for note in report["notes"])
    assert main([*arguments, "--end", "8", "--resume"]) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--prompt", "fix.png"], "--prompt is 'fix.png'; expected FRAME=FILE, such as 120=fix.png"),
        (["--mask", "mask.png", "--prompt", "0=mask.png"], "frame 0 has two masks"),
        (["--prompt", "0=mask.png", "--box", "1,2,3,4"], "frame 0 is marked with --prompt and with --box or --points"),
        (["--box", "x@1,2,3,4"], "before @ stands the number of a frame"),
        ([], "give --mask FILE, or mark them with --box or --points"),
        (["--mask", "mask.png", "--box", "1,2,3,4"], "choose one way to mark the objects"),
        (["--mask", "mask.png", "--points", "1,2"], "choose one way to mark the objects"),
        (["--box", "1,2,3"], "--box is '1,2,3'; expected x,y,width,height"),
        (["--points", "1"], "--points is '1'; expected x,y"),
        (["--box", "70,2,3,4"], "object 1: the box 70,2,3,4 covers no pixel of the picture of 64x48"),
        (["--points", "64,2"], "object 1: the point 64,2 is outside the picture of 64x48"),
        (["--box", "1,2,9,9:dog", "--labels", "1=cat"], "object 1 is 'dog' after its box or points, but 'cat'"),
        (["--box", "1,2,9,9:" + 65 * "x"], "a name has 1 to 64 printable characters"),
        (["--box", "1,2,9,9", "--mask-mode", "ids"], "boxes and points have no mask to read"),
        (["--box", "1,2,3,4", "--prompt-frame", "12"], "the video has 12 frames, 0 to 11"),
    ],
)
def test_bad_prompts_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: list[str], said: str
) -> None:
    """Exit code 2, one line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4")
    write_mask(tmp_path / "mask.png")
    assert main(["run", "clip.mp4", "--out", "out", *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
