"""A service of several processes that a test breaks: two API processes, hosts with a worker each, one database.

Their files are in one folder, or in an object store; then the processes share no folder. In place of hosts with workers
there may be a Ray cluster.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from service.storage.objects.object_store import ObjectStore
from tests.support.media import write_mask
from tests.support.object_stores import BUCKET, S3Server
from tests.support.paths import ROOT
from tests.support.ray_nodes import RayNodes
from tests.support.synthetic import encode, pan, x264
from tests.support.waiting import files_below, wait_for
from vos.runtime.durable import is_part

FRAMES = 30
SIZE = (64, 48)
LEASE_SECONDS = 2.0


@dataclass
class Member:
    """One process of the plant.

    Attributes:
        name: Such as "api-0" or "host-1".
        port: Port of an API process, 0 for a host.
        process: The running process.
    """

    name: str
    port: int
    process: subprocess.Popen[str] = field(init=False)

    @property
    def kind(self) -> str:
        """Whether it is an "api" or a "host"."""
        return self.name.partition("-")[0]

    @property
    def url(self) -> str:
        """Address of an API process."""
        return f"http://127.0.0.1:{self.port}"

    def children(self) -> list[int]:
        """Return the process ids of its children, without Python's resource tracker."""
        return _children_of(self.process.pid)


def plant_environment(home: Path, database: str, store: S3Server | None = None) -> dict[str, str]:
    """Return the variables that all processes of a plant have, those of a Ray cluster included.

    Args:
        home: Folder of all files.
        database: URL of the database.
        store: Object store for the files of jobs, None for a folder.
    """
    settings = {
        "HOME": str(home),
        "DATABASE_URL": database,
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "INSPECT_PROCESSES": "1",
        "MAX_JOBS_PER_KEY": "1000",
        "LOG_LEVEL": "warning",
    }
    if store is not None:
        settings["STORAGE"] = f"s3://{BUCKET}/keymask"
    variables = {f"KEYMASK_{name}": value for name, value in settings.items()}
    return variables | dict(store.variables if store is not None else {})


class Plant:
    """The processes, their files and their database.

    Args:
        home: Folder of all files.
        database: URL of the database.
        hosts: Number of hosts.
        store: Object store for the files of jobs, None for a folder.
        ray: Cluster with the workers; hosts then start its actors and have no workers.

    Attributes:
        clip: A video of `FRAMES` frames.
        mask: Mask of its first frame.
    """

    def __init__(
        self, home: Path, database: str, hosts: int = 2, store: S3Server | None = None, ray: RayNodes | None = None
    ) -> None:
        self.home = home
        self.database = database
        self.log = home / "log"
        self._environment = plant_environment(home, database, store)
        self._objects: ObjectStore | None = None if store is None else store.open("keymask", retries=3)
        self._ray = ray
        home.mkdir(exist_ok=True)
        moving = pan(FRAMES, SIZE, velocity=(1.0, 0.5)).frames
        self.clip = encode(moving, options=x264(bframes=0), container="mp4")
        self.mask = write_mask(home / "mask.png").read_bytes()
        self.apis = [self._begin("api", number) for number in range(2)]
        self.hosts = [self._begin("host", number) for number in range(hosts)]

    def __enter__(self) -> Plant:
        return self

    def __exit__(self, *_: object) -> None:
        for member in [*self.apis, *self.hosts]:
            member.process.kill()
            member.process.wait()
            _close(member)

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        parents = [host.process.pid for host in self.hosts] if self._ray is None else self._ray.actors()
        return [child for parent in parents for child in _children_of(parent)]

    def job_folders(self) -> set[str]:
        """Return the ids of the jobs that have files."""
        if self._objects is not None:
            return set(self._objects.folders("jobs/"))
        return {entry.name for entry in (self._files / "jobs").iterdir()}

    def unfinished_files(self) -> list[str]:
        """Return uploads and parts of files; not those of copies, which count for nothing."""
        if self._objects is not None:
            return [str(path) for folder in self.home.glob("*/scratch/*/incoming") for path in files_below(folder)]
        parts = [path for path in files_below(self._files / "jobs") if is_part(path.name)]
        return [str(path) for path in parts + files_below(self._files / "incoming")]

    @property
    def _files(self) -> Path:
        return self.home / "service" / "files"

    def kill(self, member: Member, number: signal.Signals = signal.SIGKILL) -> None:
        """End a process by a signal and start it again; an API process listens at the same port again."""
        member.process.send_signal(number)
        member.process.wait(60)
        _close(member)
        self._start(member)

    def _begin(self, kind: str, number: int) -> Member:
        member = Member(f"{kind}-{number}", _free_port() if kind == "api" else 0)
        self._start(member)
        return member

    def _start(self, member: Member) -> None:
        """Start the process; if it ends while the database is away, start it again, as a container would be.

        Raises:
            AssertionError: It did not start within two minutes.
        """
        end = time.monotonic() + 120
        while not self._launch(member):
            assert time.monotonic() < end, (
                f"{member.name} did not start; its log ends with {self.log.read_text()[-2000:]}"
            )
            member.process.kill()
            member.process.wait()
            _close(member)
            time.sleep(0.5)

    def _launch(self, member: Member) -> bool:
        """Start the process; return whether it says that it is up, and an API process answers."""
        own = {"PORT": str(member.port), "DEVICES": "none" if member.port else "cpu"}
        if self._objects is not None:
            own["STORAGE_DIR"] = str(self.home / member.name)
        if self._ray is not None and not member.port:
            own |= {"ENGINE": "ray", "RAY_ADDRESS": self._ray.address, "RAY_CPUS": "1"}
            own["RAY_MAX_WORKERS"] = str(self._ray.count)
        environment = os.environ | self._environment | {f"KEYMASK_{name}": value for name, value in own.items()}
        environment["PYTHONPATH"] = str(ROOT)
        command = [sys.executable, "-m", "tests.support.plant_child", "api" if member.port else "worker"]
        with self.log.open("ab") as log:
            member.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert member.process.stdout is not None
        if not member.process.stdout.readline():
            return False
        if member.port:
            wait_for(lambda: answers(member) or member.process.poll() is not None, 60)
        return member.process.poll() is None


def _children_of(process: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            pids = [int(pid) for pid in task.read_text().split()]
            found += [pid for pid in pids if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
        except OSError:
            continue  # it has ended meanwhile
    return found


def _close(member: Member) -> None:
    assert member.process.stdout is not None
    member.process.stdout.close()


def answers(member: Member) -> bool:
    """Return whether an API process answers."""
    try:
        return httpx.get(f"{member.url}/health/live", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
