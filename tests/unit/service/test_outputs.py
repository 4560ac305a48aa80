"""Where a run writes, and what it refuses to destroy."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import UsageError
from service.outputs import Outputs


def filled(folder: Path, *names: str) -> Path:
    """A folder with files of these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x", encoding="utf-8")
    return folder


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("masks/readme.txt",), ("other/00000.png",)])
def test_a_folder_without_an_earlier_result_is_free(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Files that a run does not write are no obstacle."""
    Outputs(filled(tmp_path / "out", *names)).check((), force=False)


@pytest.mark.parametrize("name", ["report.json", "masks/00007.png"])
def test_an_earlier_result_is_not_overwritten(tmp_path: Path, name: str) -> None:
    """A report or masks of an earlier run are in the way unless they may be replaced."""
    outputs = Outputs(filled(tmp_path / "out", name))
    with pytest.raises(UsageError, match=r"from an earlier run: choose another place, or replace with --force"):
        outputs.check((), force=False)
    outputs.check((), force=True)


@pytest.mark.parametrize("option", ["overlay", "rle"])
def test_a_file_is_not_overwritten(tmp_path: Path, option: str) -> None:
    """An overlay or RLE file that exists is in the way unless it may be replaced."""
    path = filled(tmp_path, "there.mp4") / "there.mp4"
    outputs = Outputs(tmp_path / "out", **{option: path})
    with pytest.raises(UsageError, match=r"there.mp4 from an earlier run"):
        outputs.check((), force=False)
    outputs.check((), force=True)


@pytest.mark.parametrize("option", ["overlay", "rle"])
def test_an_input_is_never_overwritten(tmp_path: Path, option: str) -> None:
    """Not even with --force is the video or the mask written over, by whatever path it is named."""
    video = filled(tmp_path, "a/dog.mp4") / "a" / "dog.mp4"
    outputs = Outputs(tmp_path / "out", **{option: tmp_path / "a" / ".." / "a" / "dog.mp4"})
    with pytest.raises(UsageError, match="is an input of this run"):
        outputs.check((video,), force=True)


def test_clearing_leaves_other_files(tmp_path: Path) -> None:
    """Old masks and the old report go, so that none is taken for new; everything else stays."""
    folder = filled(tmp_path / "out", "report.json", "masks/00000.png", "masks/123456.png", "masks/x.png", "notes.txt")
    Outputs(folder).clear()
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert left == ["masks/x.png", "notes.txt"]
