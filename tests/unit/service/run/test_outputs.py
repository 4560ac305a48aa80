"""Outputs of a run: their paths, and the files that they must not overwrite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.errors import UsageError
from service.run.outputs import Outputs


def filled(folder: Path, *names: str) -> Path:
    """Create files of these names in a folder, and return the folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x", encoding="utf-8")
    return folder


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("masks/readme.txt",), ("other/00000.png",)])
def test_a_folder_without_an_earlier_result_is_accepted(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Files that a run does not write do not block it."""
    Outputs(filled(tmp_path / "out", *names)).check((), force=False)


@pytest.mark.parametrize("name", ["report.json", "masks/00007.png"])
def test_an_earlier_result_is_not_overwritten(tmp_path: Path, name: str) -> None:
    """A report or masks of an earlier run block a new run, except with --force."""
    outputs = Outputs(filled(tmp_path / "out", name))
    with pytest.raises(UsageError, match=r"from an earlier run: choose another place, or replace with --force"):
        outputs.check((), force=False)
    outputs.check((), force=True)


@pytest.mark.parametrize("option", ["overlay", "rle", "coco", "ytvis", "png"])
def test_an_existing_file_is_not_overwritten(tmp_path: Path, option: str) -> None:
    """An existing overlay or RLE file blocks a run, except with --force."""
    path = filled(tmp_path, "there.mp4") / "there.mp4"
    outputs = Outputs(tmp_path / "out", **{option: path})
    with pytest.raises(UsageError, match=r"there.mp4 from an earlier run"):
        outputs.check((), force=False)
    outputs.check((), force=True)


@pytest.mark.parametrize("option", ["overlay", "rle", "coco", "ytvis", "png"])
def test_an_input_is_never_overwritten(tmp_path: Path, option: str) -> None:
    """Even --force does not overwrite the video or the mask, whichever path names it."""
    video = filled(tmp_path, "a/dog.mp4") / "a" / "dog.mp4"
    outputs = Outputs(tmp_path / "out", **{option: tmp_path / "a" / ".." / "a" / "dog.mp4"})
    with pytest.raises(UsageError, match="is an input of this run"):
        outputs.check((video,), force=True)


@pytest.mark.parametrize("option", ["overlay", "rle", "json"])
def test_a_linked_input_is_never_overwritten(tmp_path: Path, option: str) -> None:
    """A symbolic or hard link to an input counts as the input."""
    video = filled(tmp_path, "dog.mp4") / "dog.mp4"
    (tmp_path / "soft.mp4").symlink_to(video)
    (tmp_path / "hard.mp4").hardlink_to(video)
    for name in ("dog.mp4", "soft.mp4", "hard.mp4"):
        with pytest.raises(UsageError, match=rf"--{option}: .*{name} is an input of this run; choose another file"):
            Outputs(tmp_path / "out", **{option: tmp_path / name}).check((video,), force=True)


def test_the_report_does_not_replace_an_input(tmp_path: Path) -> None:
    """A video at the path of the report is refused, since the report would replace it."""
    video = filled(tmp_path, "out/report.json") / "out" / "report.json"
    with pytest.raises(UsageError, match=r"report.json: .* is an input of this run"):
        Outputs(tmp_path / "out").check((video,), force=True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"rle": "a.mp4", "overlay": "a.mp4"}, r"--overlay and --rle are both .*a.mp4; choose different files"),
        ({"coco": "a", "png": "a"}, r"--coco and --png are both .*a; choose different files"),
        ({"rle": "a.mp4", "overlay": "b/../a.mp4"}, r"--overlay and --rle are both .*a.mp4"),
        ({"rle": "out/report.json"}, r"report.json and --rle are both .*report.json"),
        ({"json": "out/report.json"}, r"report.json and --json are both .*report.json"),
        ({"json": "a", "rle": "a"}, r"--rle and --json are both .*a;"),
        ({"rle": "out"}, r"--rle: .*out cannot be a file, since .*out is a folder to write into"),
        ({"json": "out/masks"}, r"--json: .*masks cannot be a file, since .*masks is a folder"),
        ({"rle": "a", "overlay": "a/b.mp4"}, r"--rle: .*a cannot be a file, since .*a is a folder"),
        ({"rle": "out/masks/00001.png"}, r"00001.png is an output of this run and lies where its masks go"),
    ],
)
def test_outputs_do_not_destroy_each_other(tmp_path: Path, files: dict[str, str], message: str) -> None:
    """Even --force allows no file for two outputs, no file in place of a folder, and no file among the masks."""
    (tmp_path / "b").mkdir()
    outputs = Outputs(tmp_path / "out", **{name: tmp_path / path for name, path in files.items()})
    for force in (False, True):
        with pytest.raises(UsageError, match=message):
            outputs.check((), force=force)


def test_a_prompt_mask_among_the_masks_is_kept(tmp_path: Path) -> None:
    """A prompt mask in the folder of masks is never deleted: it is kept, or refused if a mask would replace it."""
    masks = filled(tmp_path / "out", "masks/00003.png", "masks/first.png") / "masks"
    (tmp_path / "link.png").symlink_to(masks / "00003.png")
    outputs = Outputs(tmp_path / "out")
    for given in (masks / "00003.png", tmp_path / "link.png"):
        with pytest.raises(UsageError, match=r"is an input of this run and lies where its masks go; choose another"):
            outputs.check((given,), force=True)
    outputs.check((masks / "first.png",), force=True)
    outputs.clear()
    assert (masks / "first.png").exists()


def test_separate_outputs_are_accepted(tmp_path: Path) -> None:
    """Outputs of different names may share the folder; the JSON of an earlier run is replaced without --force."""
    folder = filled(tmp_path / "out", "result.json")
    video = filled(tmp_path, "dog.mp4") / "dog.mp4"
    outputs = Outputs(folder, folder / "overlay.mp4", folder / "masks.ndjson", folder / "result.json")
    outputs.check((video, tmp_path / "absent.png", Path("nul\0.mp4"), Path("x" * 300)), force=False)


def test_clearing_leaves_other_files(tmp_path: Path) -> None:
    """`clear` deletes the old masks and report, which could be mistaken for new ones, and nothing else."""
    folder = filled(tmp_path / "out", "report.json", "masks/00000.png", "masks/123456.png", "masks/x.png", "notes.txt")
    Outputs(folder).clear()
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert left == ["masks/x.png", "notes.txt"]


def earlier(folder: Path, **files: Path) -> Outputs:
    """Return the outputs of a run that wrote these files and a report that describes them."""
    outputs = Outputs(folder, **files)
    for path in files.values():
        filled(path.parent, path.name)
    filled(folder, "masks/00000.png")
    outputs.report.write_text(json.dumps({"written": outputs.written()}), encoding="utf-8")
    return outputs


def test_clearing_removes_what_the_earlier_run_wrote_elsewhere(tmp_path: Path) -> None:
    """Files that its report describes are removed, though the new run does not ask for them."""
    other = tmp_path / "elsewhere"
    earlier(tmp_path / "out", overlay=other / "o.mp4", coco=other / "c.json", png=tmp_path / "out" / "m.zip")
    filled(other, "mine.json")
    Outputs(tmp_path / "out").clear()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.json"]


def test_clearing_keeps_files_that_keymask_did_not_write(tmp_path: Path) -> None:
    """A file that was changed or replaced since, a path in a foreign report and an input of the new run stay."""
    old = earlier(tmp_path / "out", rle=tmp_path / "edited", overlay=tmp_path / "o.mp4", ytvis=tmp_path / "y.json")
    (tmp_path / "edited").write_text("more than before", encoding="utf-8")
    report = json.loads(old.report.read_text(encoding="utf-8"))
    foreign = filled(tmp_path, "foreign") / "foreign"
    report["written"] += [{"path": str(foreign)}, {"path": 7}, str(foreign)]
    old.report.write_text(json.dumps(report), encoding="utf-8")
    Outputs(tmp_path / "out").clear((tmp_path / "o.mp4",))
    assert {path.name for path in tmp_path.iterdir()} >= {"edited", "foreign", "o.mp4"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"written": null}', '{"written": {"path": "x"}}', "\udc80"])
def test_a_report_that_describes_nothing_is_just_replaced(tmp_path: Path, text: str) -> None:
    """A damaged report, or one of another version, names no file to remove."""
    folder = filled(tmp_path / "out", "report.json", "x")
    (folder / "report.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    Outputs(folder).clear()
    assert [path.name for path in folder.iterdir()] == ["x"]
