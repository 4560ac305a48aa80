"""The plan of a batch: which videos, which masks, which folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from service.errors import UsageError
from service.run.batch.plan import BatchTask, plan_batch
from service.run.options import RunOptions
from tests.support.media import write_mask


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Empty videos a to c, a folder of pictures d, other files, and a mask for each in a form of its own."""
    clips, masks = tmp_path / "clips", tmp_path / "masks"
    (clips / "d").mkdir(parents=True)
    (masks / "b").mkdir(parents=True)
    for name in ("a.mp4", "b.MKV", "c.ts", "notes.txt", ".hidden.mp4"):
        (clips / name).touch()
    for number in (0, 1):
        Image.new("RGB", (64, 48)).save(clips / "d" / f"{number:05d}.jpg")
    for path in ("a.png", "b/00000.png", "d.png"):
        write_mask(masks / path)
    Image.new("L", (64, 48), 255).save(masks / "c.bmp")
    return tmp_path


def plan(site: Path, *videos: str, **options: object) -> list[BatchTask]:
    """Plan with paths below the site."""
    names = [str(site / video) for video in videos]
    return plan_batch(names, site / "masks", site / "out", RunOptions(**options))


def test_a_folder_gives_its_videos_and_folders_of_pictures(site: Path) -> None:
    """Other and hidden files are left out; masks are found by name, whatever their picture format or folder."""
    tasks = plan(site, "clips")
    found = {task.name: task.mask and task.mask.relative_to(site / "masks").as_posix() for task in tasks}
    assert found == {"a": "a.png", "b": "b/00000.png", "c": "c.bmp", "d": "d.png"}
    assert [task.folder for task in tasks] == [site / "out" / name for name in "abcd"]


def test_patterns_files_and_picture_folders_are_taken(site: Path) -> None:
    """In the order in which they are given."""
    assert [task.name for task in plan(site, "clips/d", "clips/*.mp4", "clips/c.ts")] == ["d", "a", "c"]


def test_the_mask_in_a_folder_is_that_of_the_prompt_frame(site: Path) -> None:
    """DAVIS-like folders hold a mask per frame."""
    write_mask(site / "masks" / "b" / "00007.png")
    (task,) = plan(site, "clips/b.MKV", prompt_frame=7)
    assert task.mask == site / "masks" / "b" / "00007.png"


def test_a_video_without_a_mask_is_a_task_that_fails(site: Path) -> None:
    """Others can run; several masks for one video are not chosen from."""
    (site / "masks" / "a.png").unlink()
    Image.new("L", (64, 48), 255).save(site / "masks" / "d.jpg")
    tasks = {task.name: task for task in plan(site, "clips")}
    assert "no mask for a: looked for" in str(tasks["a"].problem)
    assert "several masks for d" in str(tasks["d"].problem)
    with pytest.raises(UsageError, match="no mask for a"):
        tasks["a"].request()


def test_what_cannot_be_meant_is_refused_before_anything_runs(site: Path) -> None:
    """Videos of one name, a video given twice, no video, no mask at all, results of an earlier batch."""
    (site / "clips" / "a.webm").touch()
    with pytest.raises(UsageError, match=r"a\.mp4 and .*a\.webm have the same name 'a'"):
        plan(site, "clips")
    with pytest.raises(UsageError, match="there is no video in"):
        plan(site, "clips/*.avi")
    with pytest.raises(UsageError, match="no video has a mask: no mask for x"):
        plan(site, "x.mp4")
    with pytest.raises(UsageError, match="is not a folder"):
        plan_batch([str(site / "clips" / "a.mp4")], site / "nowhere", site / "out", RunOptions())
    (site / "out").mkdir()
    (site / "out" / "report.jsonl").touch()
    with pytest.raises(UsageError, match="continue it with --resume, or replace with --force"):
        plan(site, "clips/c.ts")


def test_a_url_is_a_video_of_the_name_in_it(site: Path) -> None:
    """The last part of its path names mask and results; the query does not."""
    urls = ["https://media.example.com/x/a.mp4?key=1", "s3://videos/d.mov"]
    tasks = plan_batch([*urls, str(site / "clips/c.ts")], site / "masks", site / "out", RunOptions())
    assert [(task.name, task.source) for task in tasks] == [
        ("a", urls[0]),
        ("d", urls[1]),
        ("c", str(site / "clips/c.ts")),
    ]
    with pytest.raises(UsageError, match="same name"):
        plan_batch([urls[0], "s3://videos/a.mp4"], site / "masks", site / "out", RunOptions())
    with pytest.raises(UsageError, match="one has none"):
        plan_batch(["https://media.example.com/"], site / "masks", site / "out", RunOptions())
