"""Fixtures of job stores on every available kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.jobs.store import JobStore
from service.jobs.types import Job, JobVideo, new_job_id
from service.run.options import JobOptions
from tests.support.postgres import PostgresServer


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


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database: SQLite in memory, SQLite in a file or PostgreSQL."""
    if request.param == "memory":
        return "sqlite://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url


@pytest.fixture
def store(database_url: str) -> Iterator[JobStore]:
    """An empty store."""
    store = JobStore(database_url)
    yield store
    store.close()
