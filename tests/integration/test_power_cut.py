"""A power cut after an answer loses nothing of what was answered, judged by the order of the system calls.

Services run under `strace`. Each answer and each commit is a promise about files; from then on, a cut at any moment,
with everything lost that was not synced, must leave them whole.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.fakes import behave
from tests.support.media import write_mask
from tests.support.paths import ROOT
from tests.support.synthetic import encode, pan, x264
from tests.support.syscall_log import Call, Disk, check_strace, read_calls, traced
from tests.support.waiting import wait_for

FRAMES = 30
_ACCEPTED = re.compile(r"HTTP/1\.1 202 .*?/v1/jobs/([0-9a-f]{32})", re.DOTALL)
_RESULT = re.compile(r"HTTP/1\.1 200 .*?etag: \\\"([0-9a-f]{32})-(\w+)\\\"", re.DOTALL | re.IGNORECASE)
_LAST_CHUNK = '"0\\r\\n\\r\\n"'
_FILES = {"png": "masks.zip", "overlay": "overlay.mp4"}


@dataclass(frozen=True)
class Traced:
    """A service that has ended: its home, the log of its system calls, and the size of the clip that was posted."""

    home: Path
    log: Path
    clip_bytes: int


@pytest.fixture(scope="module")
def traced_service(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """The system calls of a service and its worker: one job, saved on the way, and two of its results."""
    check_strace()
    home = tmp_path_factory.mktemp("traced") / "home"
    behave(home, seconds=0.1)
    drawn = pan(FRAMES, (64, 48), velocity=(1.0, 0.5)).frames
    clip, mask = encode(drawn, options=x264(bframes=0), container="mp4"), write_mask(home / "mask.png").read_bytes()
    own = {"HOME": str(home), "PORT": "0", "DEVICES": "cpu", "LOG_LEVEL": "error"}
    environment = {**os.environ, **{f"KEYMASK_{name}": value for name, value in own.items()}}
    log = home.parent / "calls.log"
    command = traced(log, [sys.executable, "-m", "benchmarks.serving.light_service"])
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        started = json.loads(process.stdout.readline())
        with httpx.Client(base_url=started["address"], timeout=120) as client:
            files = {"video": clip, "mask": mask}
            job = f"/v1/jobs/{client.post('/v1/jobs', files=files).raise_for_status().json()['id']}"
            wait_for(lambda: client.get(job).json()["status"] == "succeeded", 120)
            for name in _FILES:
                client.get(f"{job}/result", params={"format": name}).raise_for_status()
        os.kill(started["pid"], signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.stdout.close()
    return Traced(home, log, len(clip))


@dataclass
class Promises:
    """What clients were told so far, and whether the disk keeps it.

    Attributes:
        disk: The disk.
        files: Path of a file that was promised -> its size.
        told: What was promised, in order: "accepted", "succeeded", and the names of results.
        broken: Promises that a power cut would break, and after which call.
    """

    disk: Disk
    files: dict[Path, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def make(self, what: str, files: list[Path]) -> None:
        """Promise files as they are now."""
        self.told.append(what)
        for path in files:
            node = self.disk.find(path)
            self.files[path] = -1 if node is None else node.size
            if not self.disk.is_durable(path):
                self.broken.append(f"{what}: {path.name} is not on the disk")

    def check(self, call: Call) -> None:
        """Cut the power after a call."""
        for path, size in self.files.items():
            if (left := self.disk.after_cut(path)) != size:
                self.broken.append(f"{path.name} has {left} of {size} bytes after {call.name}({call.text[:80]}")


@dataclass
class Replay:
    """Follows the calls of a service, and collects what it promises and when.

    Attributes:
        promises: What was promised.
        hasty: Files that were renamed before their bytes were on the disk.
    """

    traced: Traced
    hasty: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        service = self.traced.home / "service"
        self._jobs, self._database = service / "files" / "jobs", service / "jobs.db"
        self._wal = str(service / "jobs.db-wal")
        self._disk = Disk(self.traced.home.parent)
        self.promises = Promises(self._disk)
        self._rows: dict[str, int] = {}
        self._chunked: dict[str, Path] = {}
        for call in read_calls(self.traced.log):
            if call.result is None:
                self._begins(call)
            self._disk.apply(call)
            if call.result is not None:
                self._returned(call)

    def _begins(self, call: Call) -> None:
        if call.name.startswith("rename"):
            self.hasty += _unsynced(self._disk, call.strings[0])
        elif call.sends:
            self._answers(call)
        elif call.file == self._wal and "succeeded" in call.text and "succeeded" not in self.promises.told:
            files = [path for path in self._disk.files(self._jobs) if "state" not in path.name]
            self.promises.make("succeeded", files)

    def _returned(self, call: Call) -> None:
        if call.file == self._wal:
            node = self._disk.find(self._wal)
            assert node is not None
            for job_id in re.findall(r"[0-9a-f]{32}", call.text):
                self._rows.setdefault(job_id, node.changes)
        self.promises.check(call)

    def _answers(self, call: Call) -> None:
        if accepted := _ACCEPTED.search(call.text):
            folder = self._jobs / accepted[1]
            self.promises.make("accepted", [folder / "video", folder / "mask.png"])
            node = self._disk.find(self._wal)
            assert node is not None
            if node.synced < self._rows[accepted[1]]:
                self.promises.broken.append("accepted: the row is not on the disk")
            names = [name for name in (self._wal, self._database) if self._disk.after_cut(name) is None]
            self.promises.broken += [f"accepted: the name of {name} is not on the disk" for name in names]
        elif result := _RESULT.search(call.text):
            path = self._jobs / result[1] / "results" / _FILES[result[2]]
            if "content-length" in call.text:
                self.promises.make(path.name, [path])
            else:
                self._chunked[call.file] = path
        elif call.file in self._chunked and _LAST_CHUNK in call.text:
            path = self._chunked.pop(call.file)
            self.promises.make(path.name, [path])


def _unsynced(disk: Disk, path: str) -> Iterator[str]:
    """Yield the files at or below a path whose bytes are not on the disk; signs of life need not be."""
    for file in disk.files(path) or [Path(path)]:
        node = disk.find(file) if str(file).startswith("/") else None
        if node is not None and node.synced < node.changes and "incoming" not in file.parent.name:
            yield file.name


@pytest.fixture(scope="module")
def replay(traced_service: Traced) -> Replay:
    """The calls of the service, from its start to its end."""
    return Replay(traced_service)


def test_every_answer_survives_a_power_cut(replay: Replay) -> None:
    """After 202 the video, after `succeeded` the masks, and after 200 the result are on the disk, names and bytes."""
    promises = replay.promises
    assert promises.broken == []
    assert promises.told == ["accepted", "succeeded", "masks.zip", "overlay.mp4"]
    (video,) = (size for path, size in promises.files.items() if path.name == "video")
    assert video == replay.traced.clip_bytes
    (log,) = (path for path in promises.files if path.suffix == ".ndjson")
    assert promises.files[log] == log.stat().st_size
    assert [json.loads(line)["index"] for line in log.read_text().splitlines()] == list(range(FRAMES))


def test_no_file_is_renamed_before_its_bytes_are_on_the_disk(replay: Replay) -> None:
    """This holds for whatever is written beside and then renamed: uploads, resume states, reports, results."""
    assert replay.hasty == []
    renamed = re.findall(r'rename\("[^"]*", "[^"]*/([^"/]*)"', replay.traced.log.read_text(errors="replace"))
    for kind in ("[0-9a-f]{32}", r"state.*\.npz", r"report.*\.json", r"masks\.zip", r"overlay\.mp4"):
        assert any(re.fullmatch(kind, name) for name in renamed), kind
