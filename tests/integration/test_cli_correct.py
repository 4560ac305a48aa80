"""`keymask correct`, and correcting folders of results with a segmenter that needs no network."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.reader import VideoReader, open_video
from service.cli.main import main
from service.config import Settings
from service.errors import UsageError
from service.run.directions.correct_folder import CorrectRequest, correct_folder
from service.run.options import RunOptions
from service.run.outputs import Outputs
from service.run.run_to_files import RunRequest, run_to_files
from service.writers.png import encode_mask
from tests.support.media import write_clip, write_mask
from tests.support.soft_masks import arrays_in
from tests.support.still_engine import load_still

FRAMES = 12
OPTIONS = RunOptions(labels={1: "dog"})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A finished result with an overlay, and run-length encoded masks beside it."""
    video, mask = write_clip(tmp_path / "in.mp4"), write_mask(tmp_path / "mask.png")
    folder = tmp_path / "out"
    request = RunRequest(video, mask, Outputs(folder, folder / "overlay.mp4", tmp_path / "masks.ndjson"), OPTIONS)
    run_to_files(request, Settings(), load=load_still)
    return folder


@pytest.fixture
def fix(tmp_path: Path) -> Path:
    """A mask of object 1 that is not where the result has it."""
    labels = np.zeros((48, 64), np.uint8)
    labels[30:40, 5:20] = 1
    (tmp_path / "fix.png").write_bytes(encode_mask(labels))
    return tmp_path / "fix.png"


def masks_in(folder: Path) -> np.ndarray:
    """Return the labels of all masks, uint8 [frames, height, width]."""
    masks = []
    for path in sorted((folder / "masks").iterdir()):
        with Image.open(path) as picture:
            masks.append(np.array(picture))
    return np.stack(masks)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of all files in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_correction_keeps_the_version_before_and_can_be_undone(out: Path, fix: Path) -> None:
    """The given frame is as given, the version before is complete, and undo restores every byte."""
    before, masks = tree(out), masks_in(out)
    lines = (out.parent / "masks.ndjson").read_bytes()
    report = correct_folder(CorrectRequest(out, {5: fix}), Settings(), load=load_still)
    after = masks_in(out)
    with Image.open(fix) as picture:
        np.testing.assert_array_equal(after[5], np.array(picture))
    np.testing.assert_array_equal(after[0], masks[0])
    changed = [i for i in range(FRAMES) if (after[i] != masks[i]).any()]
    first, end = report["correction"]["changed"][0]
    assert 5 in changed
    assert set(changed) <= set(range(first, end))
    kept = {path.removeprefix("versions/1/"): data for path, data in tree(out).items() if "versions" in path}
    assert kept.pop("exports/rle") == lines
    assert kept.pop("exports/overlay") == before["overlay.mp4"]
    assert kept == {path: data for path, data in before.items() if path != "overlay.mp4"}
    stored = json.loads((out / "report.json").read_text())
    assert stored.pop("frames")[5]["source"] == "corrected"
    assert stored == report
    assert report["sources"]["corrected"] == 1
    assert not any("before the correction" in note for note in report["notes"])
    assert main(["correct", str(out), "--undo"]) == 0
    assert tree(out) == before
    assert (out.parent / "masks.ndjson").read_bytes() == lines
    assert not (out / "corrections.json").exists()


@pytest.mark.parametrize("rotation", [0, 90])
def test_soft_masks_are_corrected_too(tmp_path: Path, rotation: int) -> None:
    """The given mask is exact, frames that change have new soft masks, others keep theirs; undo restores the file."""
    video, size = write_clip(tmp_path / "in.mp4", rotation=rotation), (48, 64) if rotation else (64, 48)
    mask, fix, folder = write_mask(tmp_path / "mask.png", *size), tmp_path / "fix.png", tmp_path / "soft"
    labels = np.zeros(size[::-1], np.uint8)
    labels[30:40, 5:20] = 1
    fix.write_bytes(encode_mask(labels))
    outputs = Outputs(folder, exports={"npz": folder / "soft.npz"})
    run_to_files(RunRequest(video, mask, outputs, OPTIONS), Settings(), load=load_still)
    before, stored = arrays_in(folder / "soft.npz"), (folder / "soft.npz").read_bytes()
    report = correct_folder(CorrectRequest(folder, {5: fix}), Settings(), load=load_still)
    after, masks = arrays_in(folder / "soft.npz"), masks_in(folder)
    first, end = report["correction"]["changed"][0]
    assert after.keys() == before.keys()
    for index in range(FRAMES):
        name, inside = f"1/{index:05d}", masks[index] == 1
        levels = (255, 0) if index in (0, 5) else (200, 20)
        np.testing.assert_array_equal(after[name], np.where(inside, *levels), err_msg=name)
        assert first <= index < end or (after[name] == before[name]).all()
    assert main(["correct", str(folder), "--undo"]) == 0
    assert (folder / "soft.npz").read_bytes() == stored


def test_exports_are_written_again(out: Path, fix: Path) -> None:
    """They show the corrected masks. A second correction replaces them as well; a file that a user changed stays."""
    for turn in range(2):
        report = correct_folder(CorrectRequest(out, {5 + turn: fix}), Settings(), load=load_still)
        after = masks_in(out)
        found = [json.loads(line) for line in (out.parent / "masks.ndjson").read_text().splitlines()]
        assert [line["index"] for line in found] == list(range(FRAMES))
        areas = [sum(entry["area"] for entry in line["objects"]) for line in found]
        assert areas == [int((labels > 0).sum()) for labels in after]
        assert report["notes"] == []
    with closing(open_video(out / "overlay.mp4")) as overlay, closing(open_video(out.parent / "in.mp4")) as video:
        pairs = list(zip(_pictures(overlay), _pictures(video), strict=True))
    assert len(pairs) == FRAMES
    tinted = np.abs(pairs[5][0] - pairs[5][1])[..., 2] + np.abs(pairs[5][0] - pairs[5][1])[..., 0]
    assert tinted[masks_in(out)[5] > 0].mean() > 3 * tinted[masks_in(out)[5] == 0].mean()
    (out.parent / "masks.ndjson").write_text("mine")
    report = correct_folder(CorrectRequest(out, {8: fix}), Settings(), load=load_still)
    assert (out.parent / "masks.ndjson").read_text() == "mine"
    assert [note for note in report["notes"] if "before the correction" in note and "masks.ndjson" in note]
    assert not list(out.parent.rglob("*.part*"))


def _pictures(reader: VideoReader) -> list[np.ndarray]:
    """Return all pictures in presentation order, float [height, width, 3]."""
    return [frame.rgb().astype(float) for frame in sorted(reader, key=lambda frame: frame.index)]


def test_a_new_run_removes_versions_and_corrections(tmp_path: Path, out: Path, fix: Path) -> None:
    """What another result was corrected with says nothing about a new one."""
    before = masks_in(out)
    correct_folder(CorrectRequest(out, {5: fix}), Settings(), load=load_still)
    request = RunRequest(tmp_path / "in.mp4", tmp_path / "mask.png", Outputs(out), force=True)
    run_to_files(request, Settings(), load=load_still)
    np.testing.assert_array_equal(masks_in(out), before)
    assert not list(out.glob("versions/*"))
    assert not (out / "corrections.json").exists()


def test_corrections_add_up(out: Path, fix: Path) -> None:
    """A second correction remembers the first, and an object may be absent."""
    correct_folder(CorrectRequest(out, {5: fix}, object=2), Settings(), load=load_still)
    assert np.unique(masks_in(out)[5]).tolist() == [0, 1, 2]
    report = correct_folder(CorrectRequest(out, {}, object=2, absent=(8,)), Settings(), load=load_still)
    assert np.unique(masks_in(out)[8]).tolist() == [0, 1]
    assert report["correction"]["version_before"] == 2
    prompts = json.loads((out / "corrections.json").read_text())
    assert [(entry["frame"], entry["object"]) for entry in prompts["earlier"]] == [(0, 1), (5, 2)]
    assert [(entry["frame"], entry["object"], entry["absent"]) for entry in prompts["new"]] == [(8, 2, True)]
    for expected in (2, 1):
        assert main(["correct", str(out), "--undo"]) == 0
        assert (out / "versions" / str(expected)).exists() is False
    assert main(["correct", str(out), "--undo"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing is corrected"),
        (["--prompt", "fix.png"], "expected FRAME=FILE"),
        (["--prompt", "5=a.png", "--prompt", "5=b.png"], "frame 5 twice"),
        (["--absent", "5"], "--object"),
        (["--undo", "--absent", "5"], "--undo goes back"),
        (["--prompt", "5=missing.png"], "missing.png"),
        (["--undo"], "no earlier version"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    out: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing changes, and the error says what is expected."""
    before = tree(out)
    assert main(["correct", str(out), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert tree(out) == before


def test_a_folder_without_a_result_is_refused(tmp_path: Path, out: Path, fix: Path) -> None:
    """The error says what is missing: a report, a complete run, the video."""
    with pytest.raises(UsageError, match=r"no readable report\.json"):
        correct_folder(CorrectRequest(tmp_path, {5: fix}), Settings(), load=load_still)
    (tmp_path / "in.mp4").rename(tmp_path / "moved.mp4")
    with pytest.raises(UsageError, match="say with --video"):
        correct_folder(CorrectRequest(out, {5: fix}), Settings(), load=load_still)
    correct_folder(CorrectRequest(out, {5: fix}, video=tmp_path / "moved.mp4"), Settings(), load=load_still)
    report = json.loads((out / "report.json").read_text())
    (out / "report.json").write_text(json.dumps(report | {"complete": False}))
    with pytest.raises(UsageError, match="--resume"):
        correct_folder(CorrectRequest(out, {5: fix}), Settings(), load=load_still)
