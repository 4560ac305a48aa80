"""A service of several processes that a test breaks: two API processes, hosts with a worker each, one database."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.media import write_mask
from tests.support.paths import ROOT
from tests.support.synthetic import encode, pan, x264
from tests.support.waiting import wait_for

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
    def url(self) -> str:
        """Address of an API process."""
        return f"http://127.0.0.1:{self.port}"

    def children(self) -> list[int]:
        """Return the process ids of its children, without Python's resource tracker."""
        found: list[int] = []
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            try:
                pids = [int(pid) for pid in task.read_text().split()]
                found += [pid for pid in pids if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
            except OSError:
                continue  # it has ended meanwhile
        return found


class Plant:
    """The processes, their files and their database.

    Args:
        home: Folder of all files.
        database: URL of the database.
        hosts: Number of hosts.
    """

    def __init__(self, home: Path, database: str, hosts: int = 2) -> None:
        self.home = home
        self.database = database
        self.files = home / "service" / "files"
        self.log = home / "log"
        home.mkdir(exist_ok=True)
        moving = pan(FRAMES, SIZE, velocity=(1.0, 0.5)).frames
        self.clip = encode(moving, options=x264(bframes=0), container="mp4")
        self.mask = write_mask(home / "mask.png").read_bytes()
        self.apis = [self._begin("api", number) for number in range(2)]
        self.hosts = [self._begin("host", number) for number in range(hosts)]
        for api in self.apis:
            wait_for(lambda api=api: answers(api))  # type: ignore[misc]

    def __enter__(self) -> Plant:
        return self

    def __exit__(self, *_: object) -> None:
        for member in [*self.apis, *self.hosts]:
            member.process.kill()
            member.process.wait()
            _close(member)

    def kill(self, member: Member, number: signal.Signals = signal.SIGKILL) -> None:
        """End a process by a signal and start it again; an API process listens at the same port again."""
        member.process.send_signal(number)
        member.process.wait(60)
        _close(member)
        self._start(member)
        if member.port:
            wait_for(lambda: answers(member), 60)

    def _begin(self, kind: str, number: int) -> Member:
        member = Member(f"{kind}-{number}", _free_port() if kind == "api" else 0)
        self._start(member)
        return member

    def _start(self, member: Member) -> None:
        """Start the process and wait until it says that it is up."""
        own = {
            "HOME": str(self.home),
            "DATABASE_URL": self.database,
            "PORT": str(member.port),
            "DEVICES": "none" if member.port else "cpu",
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "INSPECT_PROCESSES": "1",
            "MAX_JOBS_PER_KEY": "1000",
            "LOG_LEVEL": "warning",
        }
        environment = os.environ | {f"KEYMASK_{name}": value for name, value in own.items()} | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.support.plant_child", "api" if member.port else "worker"]
        with self.log.open("ab") as log:
            member.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert member.process.stdout is not None
        line = member.process.stdout.readline()
        assert line, f"{member.name} did not start; its log ends with {self.log.read_text()[-2000:]}"
        json.loads(line)


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
