"""Processes of a service on machines that share a database and an object store, and no folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.fakes import behave
from tests.support.object_stores import BUCKET, S3Server
from tests.support.paths import ROOT


class Machine:
    """A process: an API without workers, or a host with one worker, with a folder of its own.

    Args:
        kind: "api" or "worker".
        home: Its folder.
        database: URL of the database.
        store: The object store.
        settings: Further settings, without `KEYMASK_`.

    Attributes:
        process: The process.
        about: What it has said when it was up: the address of an API.
    """

    def __init__(self, kind: str, home: Path, database: str, store: S3Server, **settings: str) -> None:
        behave(home)
        own = {
            "HOME": str(home),
            "DATABASE_URL": database,
            "STORAGE": f"s3://{BUCKET}/keymask",
            "PORT": "0",
            "DEVICES": "none" if kind == "api" else "cpu",
            "LEASE_SECONDS": "2",
            "INSPECT_PROCESSES": "1",
            "LOG_LEVEL": "warning",
        }
        environment = os.environ | {f"KEYMASK_{name}": value for name, value in (own | settings).items()}
        environment |= dict(store.variables)
        self.home = home
        self._log = (home / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.plant_child", kind],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.kill()
            raise AssertionError(f"{kind} did not start; its log ends with {self.log()}")
        self.about = json.loads(line)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """The address of the API."""
        address: str = self.about["address"]
        return address

    def log(self) -> str:
        """Return the end of the log."""
        return (self.home / "log").read_text(encoding="utf-8")[-3000:]

    def behave(self, **behaviour: object) -> None:
        """Set how the worker behaves from its next run on."""
        behave(self.home, **behaviour)

    def kill(self) -> None:
        """Kill the process; its workers and sandboxes end when they see that."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()

    def files(self) -> list[Path]:
        """Return the files of jobs on this machine."""
        return [path for path in self.home.glob("service/files/scratch/*/jobs/*/*") if path.is_file()]
