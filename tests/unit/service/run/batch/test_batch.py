"""A batch: processes, failures, the report, and how it is continued."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.cli.main import main
from service.config import Settings
from service.run.batch.plan import BatchTask, plan_batch
from service.run.batch.task import run_task
from service.run.batch.workers import run_tasks
from service.run.options import RunOptions
from service.run.run_to_files import run_to_files
from tests.support.batch_tasks import run_or_die, run_still
from tests.support.media import write_clip, write_mask
from tests.support.resumable import load_memory


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Videos a and b with masks, and one that is none."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "masks").mkdir()
    for name in ("a", "b"):
        write_clip(tmp_path / "clips" / f"{name}.mp4")
    (tmp_path / "clips" / "bad.mp4").write_bytes(b"no video")
    for name in ("a", "b", "bad"):
        write_mask(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def test_a_crash_costs_one_video(tmp_path: Path) -> None:
    """Two processes share the tasks; one that is killed is replaced, and its video has failed."""
    names = ("a", "die 1", "meet 1", "b", "die 2", "meet 2")
    tasks = [BatchTask(name, Path(f"{name}.mp4"), Path("mask.png"), None, tmp_path / name) for name in names]
    results = {result.task.name: result for result in run_tasks(tasks, Settings(), jobs=2, run=run_or_die)}
    assert {name for name, result in results.items() if result.status == "done"} == {"a", "b", "meet 1", "meet 2"}
    for name in ("die 1", "die 2"):
        assert "died (signal 9; most likely out of memory)" in str(results[name].error)


def test_a_cut_off_video_is_continued_and_a_finished_one_is_skipped(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --resume, the masks are those of a batch that was never cut off."""
    runs = partial(run_to_files, state_seconds=0.0)
    monkeypatch.setattr("service.run.batch.task.run_to_files", runs)
    options = RunOptions(keyframes="every:3")
    videos = [str(site / "clips" / f"{name}.mp4") for name in "ab"]
    whole = plan_batch(videos, site / "masks", site / "whole", options)
    for task in whole:
        assert run_task(task, Settings(), load=load_memory).status == "done"
    first, second = plan_batch(videos, site / "masks", site / "cut", options)
    run_task(first, Settings(), load=load_memory)
    left = iter(range(7))

    def interrupt() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_task(second, Settings(), on_frame=interrupt, load=load_memory)
    again = plan_batch(videos, site / "masks", site / "cut", options, resume=True)
    skipped, continued = (run_task(task, Settings(), load=load_memory) for task in again)
    assert (skipped.status, continued.status) == ("skipped", "done")
    assert continued.report is not None
    assert continued.report["resumed"]
    for name in "ab":
        paths = sorted((site / "whole" / name / "masks").iterdir())
        assert len(paths) == 12
        assert [p.read_bytes() for p in paths] == [(site / "cut" / name / "masks" / p.name).read_bytes() for p in paths]


def batch(site: Path, *more: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the command and return its exit code and the lines of its report."""
    arguments = ["batch", str(site / "clips"), "--masks", str(site / "masks"), "--out", str(site / "out"), *more]
    code = main(arguments)
    report = site / "out" / "report.jsonl"
    return code, [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []


def test_the_command_lists_failures_and_goes_on(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line per video; exit code 1 if one failed; then only the failed one is tried again."""
    monkeypatch.setattr("service.run.batch.workers.run_tasks", partial(run_tasks, run=run_still))
    code, lines = batch(site, "--overlay", "--jobs", "2")
    assert code == 1
    assert "1 of 3 videos failed" in capsys.readouterr().err
    by_name = {line["name"]: line for line in lines}
    assert {name: line["status"] for name, line in by_name.items()} == {"a": "done", "b": "done", "bad": "failed"}
    assert "is not a video that FFmpeg can read" in by_name["bad"]["error"]
    assert by_name["a"]["report"]["frames_written"] == len(list((site / "out" / "a" / "masks").iterdir())) == 12
    assert (site / "out" / "b" / "overlay.mp4").stat().st_size > 1000

    assert batch(site)[0] == 2
    assert "continue it with --resume" in capsys.readouterr().err
    code, lines = batch(site, "--overlay", "--resume")
    assert {line["name"]: line["status"] for line in lines} == {"a": "skipped", "b": "skipped", "bad": "failed"}
    (site / "clips" / "bad.mp4").unlink()
    assert batch(site, "--overlay", "--resume")[0] == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--jobs", "0"], "Invalid value for '--jobs'"),
        (["--colors", "1=red"], "--opacity and --colors change the overlay; give --overlay too"),
        (["--keyframes", "some"], "keyframes is 'some'; allowed: adaptive, codec, every:N"),
    ],
)
def test_bad_options_are_named(site: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything runs, with exit code 2 and one line."""
    assert batch(site, *more) == (2, [])
    assert message in capsys.readouterr().err


def test_a_video_by_url_is_copied_for_its_run(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its masks are those of the file, a second run is skipped, and a URL that is not allowed fails alone."""
    url = "https://media.example.com/a.mp4"
    options = RunOptions(keyframes="every:3")
    (refused,) = plan_batch([url], site / "masks", site / "refused", options)
    result = run_task(refused, Settings(), load=load_memory)
    assert result.status == "failed"
    assert "KEYMASK_URL_HOSTS" in str(result.error)

    def copy_here(_url: str, target: Path, _settings: Settings) -> None:
        target.write_bytes((site / "clips" / target.name).read_bytes())

    monkeypatch.setattr("service.run.batch.local_task.copy_url", copy_here)
    (here,) = plan_batch([str(site / "clips/a.mp4")], site / "masks", site / "here", options)
    (there,) = plan_batch([url], site / "masks", site / "there", options)
    done = [run_task(task, Settings(), load=load_memory) for task in (here, there)]
    assert [result.status for result in done] == ["done", "done"]
    assert done[1].to_json()["video"] == url
    masks = [{path.name: path.read_bytes() for path in task.folder.glob("*.png")} for task in (here, there)]
    assert masks[0] == masks[1]
    (again,) = plan_batch([url], site / "masks", site / "there", options, resume=True)
    assert run_task(again, Settings(), load=load_memory).status == "skipped"
