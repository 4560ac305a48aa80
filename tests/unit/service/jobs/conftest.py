"""Fixtures of job stores on every available kind of database."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from service.jobs.store import JobStore
from service.jobs.types import Job, JobVideo, new_job_id
from service.run.options import JobOptions


def make_job(**changes: Any) -> Job:
    """Return a new queued job."""
    fields: dict[str, Any] = {
        "id": new_job_id(),
        "options": JobOptions(),
        "video": JobVideo("h264", 64, 48, 25.0, 12, 0.48, 0),
        "payload_sha256": "0" * 64,
        "created_at": datetime.now(UTC),
    }
    return Job(**fields | changes)


@pytest.fixture
def new_job() -> Callable[..., Job]:
    """Function that returns a job no store has yet."""
    return make_job


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server started for the tests; skips the test if PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="the PostgreSQL tests need psycopg")
    if shutil.which("pg_ctl") is None or shutil.which("initdb") is None:
        pytest.skip("the PostgreSQL tests need initdb and pg_ctl on the path")
    folder = tmp_path_factory.mktemp("postgres", numbered=True)
    as_user: list[str] = []
    if os.geteuid() == 0:
        # The server refuses to run as root.
        for parent in (folder, *folder.parents[:3]):
            parent.chmod(parent.stat().st_mode | 0o111)
        shutil.chown(folder, "nobody")
        as_user = ["setpriv", "--reuid=nobody", "--clear-groups"]
    data = folder / "data"
    run = lambda *command: subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)  # noqa: E731
    run("initdb", "-D", str(data), "-U", "keymask", "-A", "trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    yield f"postgresql+psycopg://keymask@/postgres?host={folder}"
    # A server that has already exited, or is slow to stop, does not fail the tests.
    stop = ["pg_ctl", "-D", str(data), "-m", "immediate", "-t", "240", "stop"]
    subprocess.run([*as_user, *stop], check=False, capture_output=True, cwd=folder)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database: SQLite in memory, SQLite in a file or PostgreSQL."""
    if request.param == "memory":
        return "sqlite://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    url: str = request.getfixturevalue("postgres_url")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return url


@pytest.fixture
def store(database_url: str) -> Iterator[JobStore]:
    """An empty store."""
    store = JobStore(database_url)
    yield store
    store.close()
