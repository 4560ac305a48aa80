"""`keymask run` as users see it: files, exit codes, standard output and error."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import sleep

import av
import numpy as np
import pytest
from PIL import Image

from service.cli.main import main
from service.run.run_to_files import run_to_files
from tests.support.media import square, write_broken, write_clip, write_mask
from tests.support.paths import ROOT
from tests.support.still_engine import load_still

LONG = 2400
"""Frames of a video that is still running when the test sees its first mask, even if the test is delayed."""
PROGRAM = [sys.executable, "-c", "import sys; from service.cli.main import main; sys.exit(main())"]


def arguments(folder: Path, *more: str) -> list[str]:
    """`keymask run` with seeded weights on a small clip and mask made in `folder`."""
    video, mask = write_clip(folder / "in.mp4"), write_mask(folder / "mask.png")
    given = [str(video), "--mask", str(mask), "--out", str(folder / "out"), "--weights", "seeded"]
    return ["run", *given, *more]


def test_a_run_writes_masks_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run writes one PNG per frame in display size, the prompt's mask first, and a report; the text has the paths."""
    more = ["--rle", str(tmp_path / "masks.ndjson"), "--overlay", str(tmp_path / "overlay.mp4")]
    assert main(arguments(tmp_path, *more)) == 0
    masks = sorted((tmp_path / "out" / "masks").iterdir())
    assert [path.name for path in masks] == [f"{i:05d}.png" for i in range(12)]
    with Image.open(masks[0]) as first, Image.open(masks[11]) as last:
        assert np.array_equal(np.asarray(first), square(64, 48))
        assert last.size == (64, 48)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["model"]["name"] == "compact"
    assert report["key_share"] == pytest.approx(report["network_runs"] / 12, abs=1e-4)
    assert {"decode", "encode", "read", "warp", "correct", "write", "total"} <= set(report["seconds"])
    page = ROOT / "docs" / "reference" / "results.md"
    described = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `seconds`"))
    assert all(f"`{stage}`" in described for stage in report["seconds"])
    output, error = capsys.readouterr()
    assert error == ""
    for path in ("out/masks", "out/report.json", "overlay.mp4", "masks.ndjson"):
        assert str(tmp_path / path) in output
        assert (tmp_path / path).exists()


def test_a_folder_of_pictures_is_a_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbered pictures are segmented in order, a gap is noted, and the overlay shows each of them."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (0, 1, 3):
        Image.new("RGB", (64, 48), (60 * number, 90, 90)).save(folder / f"{number:05d}.jpg")
    out, overlay = tmp_path / "out", tmp_path / "overlay.mkv"
    given = [str(folder), "--mask", str(write_mask(tmp_path / "mask.png")), "--out", str(out), "--weights", "seeded"]
    assert main(["run", *given, "--overlay", str(overlay)]) == 0
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["00000.png", "00001.png", "00002.png"]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (report["video"]["codec"], report["video"]["motion_source"]) == ("mjpeg", "proxy")
    (note,) = report["notes"]
    assert "has no picture 2 (1 missing); masks are numbered by position, 0 to 2" in note
    assert f"note: {note}" in capsys.readouterr().out
    with av.open(overlay) as drawn:
        assert [round(frame.time * 24) for frame in drawn.decode(video=0)] == [0, 1, 2]


def test_pictures_are_not_overwritten_by_their_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of pictures that lies where the masks go is refused, even with --force."""
    folder = tmp_path / "out" / "masks"
    folder.mkdir(parents=True)
    mask = write_mask(folder / "00000.png")
    given = ["run", str(folder), "--mask", str(mask), "--out", str(tmp_path / "out"), "--force"]
    assert main(given) == 2
    assert "is an input of this run" in capsys.readouterr().err
    assert mask.exists()


def test_the_demo_ends_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line is the command for a video of one's own."""
    monkeypatch.setattr("service.run.run_to_files.run_to_files", partial(run_to_files, load=load_still))
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("keymask run VIDEO --mask MASK.png --out OUT")


def test_json_to_standard_output_is_json_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With `--json -`, standard output holds the report's head as JSON alone; the text goes to standard error."""
    assert main(arguments(tmp_path, "--end", "3", "--json", "-")) == 0
    output, error = capsys.readouterr()
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert json.loads(output) == {key: value for key, value in report.items() if key != "frames"}
    assert "3 frames" in error


def test_json_to_a_file(tmp_path: Path) -> None:
    """With `--json FILE`, the file holds the report's head."""
    assert main(arguments(tmp_path, "--end", "2", "--json", str(tmp_path / "result.json"))) == 0
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["frames_written"] == 2


def test_masks_go_from_start_to_end(tmp_path: Path) -> None:
    """Masks are written from --start up to the frame before --end, by presentation index."""
    assert main(arguments(tmp_path, "--prompt-frame", "2", "--start", "4", "--end", "7", "--keyframes", "every:2")) == 0
    names = sorted(path.name for path in (tmp_path / "out" / "masks").iterdir())
    assert names == ["00004.png", "00005.png", "00006.png"]


@pytest.mark.parametrize("keyframes", ["every:4", "every:100"])
def test_soft_masks_are_what_the_masks_are_made_from(tmp_path: Path, keyframes: str) -> None:
    """Each array has probabilities in display size: where they are clear, the likeliest object is the mask's."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_clip(folder / "in.mp4", rotation=90)
    labels = np.zeros((64, 48), np.uint8)
    labels[10:30, 8:40], labels[40:60, 4:24] = 1, 3
    Image.fromarray(labels).save(folder / "mask.png")
    given = [str(folder / "in.mp4"), "--mask", str(folder / "mask.png"), "--out", str(folder / "out")]
    more = ["--weights", "seeded", "--edges", "raw", "--keyframes", keyframes, "--export", f"npz={tmp_path}/soft.npz"]
    assert main(["run", *given, *more]) == 0
    clear = 0
    with np.load(tmp_path / "soft.npz") as arrays:
        assert sorted(arrays.files) == sorted(f"{i}/{frame:05d}" for i in (1, 3) for frame in range(12))
        for frame in range(12):
            soft = np.stack([arrays[f"{i}/{frame:05d}"] for i in (1, 3)])
            assert (soft.dtype, soft.shape) == (np.dtype(np.uint8), (2, 64, 48))
            shares = np.concatenate([255 - soft.sum(0, dtype=int)[None], soft])
            ranked = np.sort(shares, axis=0)
            likeliest = np.array([0, 1, 3])[shares.argmax(0)]
            sure = ranked[-1] - ranked[-2] > 4  # rounding may decide between the others
            clear += int(sure.sum())
            with Image.open(folder / "out" / "masks" / f"{frame:05d}.png") as picture:
                assert (np.asarray(picture) == likeliest)[sure].all()
            assert frame or set(np.unique(soft)) == {0, 255}
    assert clear > 0.7 * 12 * 64 * 48


def test_a_break_in_the_middle_fails_after_the_frames_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The frames before the break are written, the report is not complete, the exit code is 1."""
    video, mask = write_broken(tmp_path / "broken.mp4", bad=12), write_mask(tmp_path / "mask.png", 160, 96)
    out = tmp_path / "out"
    assert main(["run", str(video), "--mask", str(mask), "--out", str(out), "--weights", "seeded"]) == 1
    assert len(list((out / "masks").iterdir())) == 12
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["complete"] is False
    assert capsys.readouterr().err == f"keymask: error: {report['error']}\n"


def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    """SIGINT ends the run with exit code 130 and one line; the masks so far and a report stay."""
    video = write_clip(tmp_path / "long.mp4", range(0, 40 * LONG, 40))
    mask, lines = write_mask(tmp_path / "mask.png"), tmp_path / "masks.ndjson"
    command = ["run", str(video), "--mask", str(mask), "--out", str(tmp_path / "out"), "--rle", str(lines)]
    with subprocess.Popen(
        [*PROGRAM, *command, "--weights", "seeded"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not (lines.exists() and lines.stat().st_size):
            sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=180)
    assert (process.returncode, error, output) == (130, "keymask: error: interrupted\n", "")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    masks = list((tmp_path / "out" / "masks").iterdir())
    assert (report["complete"], report["error"]) == (False, "interrupted")
    assert 0 < len(report["frames"]) <= len(masks) <= len(report["frames"]) + 1 < LONG


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"], []])
def test_help_loads_no_torch(words: list[str]) -> None:
    """Help and version answer without importing torch, so they are fast; exit code 0."""
    check = (
        "import sys; from service.cli import main; code = main.main(); assert 'torch' not in sys.modules; exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", check, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "keymask" in done.stdout


def test_a_reader_that_leaves_is_no_error() -> None:
    """When the reader of standard output goes away, keymask stops quietly."""
    command = " ".join(
        [sys.executable, "-c", "'import sys; from service.cli.main import main as m; sys.exit(m())'", "--help"]
    )
    done = subprocess.run(f"{command} | true", shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_nothing_is_drawn_into_a_pipe(tmp_path: Path) -> None:
    """Without a terminal there is no progress bar and standard error stays empty."""
    command = [*PROGRAM, *arguments(tmp_path, "--end", "2")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
