"""Batches from bucket to bucket, by processes of this machine and by Ray Data on a cluster."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cli.main import main
from service.config import Settings
from service.run.batch.local_task import LocalTask
from service.run.batch.object_path import ObjectPath, Place
from service.run.batch.plan import BatchTask, plan_batch
from service.run.batch.task import run_task
from service.run.batch.workers import run_tasks
from service.run.options import RunOptions
from service.run.run_to_files import run_to_files
from service.storage.objects.object_store import ObjectStore
from tests.support.batch_tasks import run_still
from tests.support.media import square, write_clip, write_grey, write_mask
from tests.support.networks import MemoryNetwork
from tests.support.object_stores import BUCKET, S3Server, s3_server
from tests.support.paths import ROOT
from tests.support.ray_nodes import RayNodes
from tests.support.resumable import load_memory
from tests.support.waiting import wait_for

ACTOR = b"ray::MapWorker"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """An object store with an empty bucket."""
    with s3_server() as running:
        yield running


class Archive:
    """Videos in a bucket: a and b, which are the same, and one that is none; their masks are files and objects.

    Args:
        folder: Folder of the files.
        server: The object store.
        name: Prefix of all objects.
    """

    def __init__(self, folder: Path, server: S3Server, name: str) -> None:
        self.folder = folder
        self.url = f"s3://{BUCKET}/{name}"
        self.store: ObjectStore = server.open(name)
        self.masks = folder / "masks"
        self.masks.mkdir()
        write_clip(folder / "a.mp4")
        (folder / "bad.mp4").write_bytes(b"no video")
        for video, file in {"a": "a", "b": "a", "bad": "bad"}.items():
            self.add(video, folder / f"{file}.mp4")

    def add(self, name: str, video: Path) -> None:
        """Add a video with a mask."""
        self.store.put_file(f"clips/{name}.mp4", video)
        self.store.put_file(f"masks/{name}.png", write_mask(self.masks / f"{name}.png"))

    def expected(self) -> dict[str, bytes]:
        """Return the masks of a run on files."""
        (task,) = plan_batch([str(self.folder / "a.mp4")], self.masks, self.folder / "expected", RunOptions())
        assert run_still(task, Settings()).status == "done"
        found = {path.name: path.read_bytes() for path in (self.folder / "expected/a/masks").iterdir()}
        assert len(found) == 12
        return found

    def results(self, name: str) -> dict[str, bytes]:
        """Return the masks of a video in the bucket."""
        keys = [entry.key for entry in self.store.entries(f"out/{name}/masks")]
        return {key.rpartition("/")[2]: self.store.read(key) for key in keys}

    def report(self) -> dict[str, dict[str, Any]]:
        """Return the lines of the report in the bucket, by name."""
        lines = map(json.loads, self.store.read("out/report.jsonl").splitlines())
        return {line["name"]: line for line in lines}

    def statuses(self) -> dict[str, str]:
        """Return what became of each video."""
        return {name: line["status"] for name, line in self.report().items()}


def test_a_batch_from_bucket_to_bucket(
    tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks are those of files, what is finished is skipped, and only --force replaces results of something else."""
    for name, value in {**server.variables, "KEYMASK_URL_HOSTS": f"s3://{BUCKET}"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("service.run.batch.workers.run_tasks", partial(run_tasks, run=run_still))
    archive = Archive(tmp_path, server, "plain")

    def batch(*more: str) -> int:
        places = ["--masks", f"{archive.url}/masks", "--out", f"{archive.url}/out/"]
        return main(["batch", f"{archive.url}/clips/*.mp4", *places, "--overlay", *more])

    assert batch() == 1
    assert "1 of 3 videos failed" in capsys.readouterr().err
    assert archive.statuses() == {"a": "done", "b": "done", "bad": "failed"}
    expected = archive.expected()
    assert archive.results("a") == archive.results("b") == expected
    assert archive.report()["bad"]["error"].startswith(f"'{archive.url}/clips/bad.mp4' is not a video")
    assert archive.store.size("out/a/overlay.mp4")
    assert not list(archive.store.entries("out/a/.resume"))
    line, stored = archive.report()["b"], json.loads(archive.store.read("out/b/report.json"))
    assert (line["video"], line["out"]) == (f"{archive.url}/clips/b.mp4", f"{archive.url}/out/b")
    assert line["report"]["video"]["path"] == stored["video"]["path"] == line["video"]
    assert stored["outputs"]["overlay"] == f"{archive.url}/out/b/overlay.mp4"
    assert "keymask-" not in archive.store.read("out/b/report.json").decode()

    assert batch() == 2
    assert "continue it with --resume" in capsys.readouterr().err
    archive.store.put("out/b/masks/00012.png", b"of an earlier version")
    archive.store.put_file("masks/b.png", write_grey(tmp_path / "other.png", np.roll(square(64, 48), 8, axis=1)))
    assert batch("--resume") == 1
    assert archive.statuses() == {"a": "skipped", "b": "failed", "bad": "failed"}
    assert "results of another video, mask or other options" in archive.report()["b"]["error"]
    assert archive.results("b") != archive.results("a")
    archive.store.delete(["clips/bad.mp4", "clips/a.mp4"])
    assert batch("--force") == 0
    assert archive.results("b").keys() == expected.keys()
    assert archive.results("b") != expected


@pytest.mark.parametrize(
    ("direction", "cut"), [("forward", 8), ("both", 5), ("both", 12)], ids=["forward", "in the walk back", "after it"]
)
def test_a_video_that_was_cut_off_is_continued_on_another_machine(
    tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch, direction: str, cut: int
) -> None:
    """What the killed machine stored at intervals is enough; nothing of it is left when the video is done."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("service.run.batch.task.run_to_files", partial(run_to_files, state_seconds=0.0))
    monkeypatch.setattr("service.run.resume.save_schedule._MAX_TIME_SHARE", math.inf)
    monkeypatch.setattr("service.run.batch.unfinished_objects._SECONDS", 0.0)
    archive = Archive(tmp_path, server, f"continued-{direction}-{cut}")
    segmented: list[int] = []
    segment = MemoryNetwork.segment

    def counted(*given: Any) -> Any:
        segmented.append(1)
        return segment(*given)

    monkeypatch.setattr(MemoryNetwork, "segment", counted)
    options = RunOptions(keyframes="every:2", direction=direction, prompt_frame=7 if direction == "both" else 0)
    video = [str(tmp_path / "a.mp4")]

    def task(out: Place, *, resume: bool = False) -> BatchTask:
        (planned,) = plan_batch(video, archive.masks, out, options, resume=resume)
        return planned

    assert run_task(task(tmp_path / "whole"), Settings(), load=load_memory).status == "done"
    whole = len(segmented)
    out, left = ObjectPath(f"{archive.url}/out"), iter(range(cut))

    def interrupt() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(LocalTask, "_store_results", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            run_task(task(out), Settings(), on_frame=interrupt, load=load_memory)
    assert list(archive.store.entries("out/a/.resume"))
    assert run_task(task(out), Settings(), load=load_memory).error == (
        f"{out}/a has results of an earlier run: choose another place, or replace with --force"
    )
    segmented.clear()
    result = run_task(task(out, resume=True), Settings(), load=load_memory)
    assert result.status == "done", result.error
    assert 0 < len(segmented) < whole
    assert not list(archive.store.entries("out/a/.resume"))
    masks = {path.name: path.read_bytes() for path in (tmp_path / "whole/a/masks").iterdir()}
    assert archive.results("a") == masks
    assert run_task(task(out, resume=True), Settings(), load=load_memory).status == "skipped"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_batch_on_ray_loses_no_video_with_its_actor(tmp_path: Path, server: S3Server) -> None:
    """Ray runs its video once more; what crashes its own process fails alone, and --resume tries only that again."""
    archive = Archive(tmp_path, server, "ray")
    for name in ("die", "wait"):
        archive.add(name, tmp_path / "a.mp4")
    environment = {**server.variables, "KEYMASK_URL_HOSTS": f"s3://{BUCKET}", "KEYMASK_HOME": str(tmp_path / "home")}
    with RayNodes(environment, nodes=2) as cluster:
        variables = {"KEYMASK_RAY_ADDRESS": cluster.address, "KEYMASK_RAY_CPUS": "1", "KEYMASK_RAY_MAX_WORKERS": "2"}

        def start(*more: str) -> subprocess.Popen[bytes]:
            places = ["--masks", str(archive.masks), "--out", f"{archive.url}/out", "--engine", "ray"]
            command = [sys.executable, "-m", "tests.support.ray_batch", "batch", f"{archive.url}/clips/*.mp4", *places]
            return subprocess.Popen([*command, *more], cwd=ROOT, env=os.environ | environment | variables)

        with start() as first:
            wait_for(lambda: first.poll() is not None or (archive.masks / "begun").exists(), 600)
            for pid in cluster.processes(ACTOR):
                os.kill(pid, signal.SIGKILL)
            assert first.wait(600) == 1
        assert archive.statuses() == {"a": "done", "b": "done", "wait": "done", "bad": "failed", "die": "failed"}
        report = archive.report()
        assert "died (signal 9" in report["die"]["error"]
        assert "is not a video that FFmpeg can read" in report["bad"]["error"]
        assert archive.results("a") == archive.results("wait") == archive.expected()

        with start("--resume") as second:
            assert second.wait(600) == 1
        assert {name for name, status in archive.statuses().items() if status == "skipped"} == {"a", "b", "wait"}
