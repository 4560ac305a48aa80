"""Backups of a service that runs, restored into an empty home."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fakes import behave
from tests.support.plant import FRAMES, Member, Plant
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for

COPY = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))"
"""As docs/howto/deploy.md says."""


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_backup_of_a_running_service_is_restored(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Finished jobs have masks and results, the running one goes on, and what is newer than the backup is swept."""
    old, new = tmp_path / "old", tmp_path / "new"
    files = new / "service" / "files"
    database, back_up, restore = _sqlite(old, new) if kind == "sqlite" else _postgres(request)
    behave(old)
    with Plant(old, database(old), hosts=1) as plant:
        api = plant.apis[0]
        done = _post(plant, api)
        wait_for(lambda: _get(api, done)["status"] == "succeeded")
        masks, result = _read(api, f"{done}/masks"), _read(api, f"{done}/result?format=png")
        behave(old, seconds=0.3)
        running = _post(plant, api)
        wait_for(lambda: _get(api, running)["progress"]["done"] > 3)
        back_up()
        newer = _post(plant, api)
        shutil.copytree(old / "service" / "files", files)
    assert (files / "jobs" / newer).is_dir()
    behave(new)
    restore()
    with Plant(new, database(new), hosts=1) as plant:
        api = plant.apis[0]
        assert (_read(api, f"{done}/masks"), _read(api, f"{done}/result?format=png")) == (masks, result)
        wait_for(lambda: _get(api, running)["status"] == "succeeded")
        assert _read(api, f"{running}/masks") == masks
        assert masks.count(b"\n") == FRAMES
        assert httpx.get(f"{api.url}/v1/jobs/{newer}").status_code == 404
        wait_for(lambda: not (files / "jobs" / newer).exists(), 60)
        assert {path.name for path in (files / "jobs").iterdir()} == {done, running}


def _sqlite(old: Path, new: Path) -> tuple[Callable[[Path], str], Callable[[], None], Callable[[], None]]:
    """Return URL of the database, and what backs it up and restores it."""

    def back_up() -> None:
        new.mkdir()
        subprocess.run([sys.executable, "-c", COPY, old / "jobs.db", new / "jobs.db"], check=True)

    return lambda home: f"sqlite:///{home}/jobs.db", back_up, lambda: None


def _postgres(request: pytest.FixtureRequest) -> tuple[Callable[[Path], str], Callable[[], None], Callable[[], None]]:
    server: PostgresServer = request.getfixturevalue("postgres")
    kept: list[bytes] = []
    return lambda _home: server.url, lambda: kept.append(server.dump()), lambda: server.restore(kept[0])


def _post(plant: Plant, api: Member) -> str:
    files = {"video": plant.clip, "mask": plant.mask}
    return str(httpx.post(f"{api.url}/v1/jobs", files=files, timeout=60).raise_for_status().json()["id"])


def _get(api: Member, job: str) -> dict[str, Any]:
    return dict(httpx.get(f"{api.url}/v1/jobs/{job}", timeout=60).raise_for_status().json())


def _read(api: Member, path: str) -> bytes:
    return httpx.get(f"{api.url}/v1/jobs/{path}", timeout=60).raise_for_status().content
