"""Storages of each kind, for the tests of what all of them do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.object_stores import S3Server, Storages, s3_server, storages


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    """Run one S3 server for all tests."""
    with s3_server() as running:
        yield running


@pytest.fixture(params=["folder", "memory", "local", "s3"])
def kinds(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storages]:
    """A storage of each kind, empty."""
    kind: str = request.param
    with closing(storages(kind, tmp_path, request.getfixturevalue("server") if kind == "s3" else None)) as made:
        yield made


@pytest.fixture(params=["memory", "local", "s3"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storages]:
    """An object store of each kind, empty."""
    kind: str = request.param
    with closing(storages(kind, tmp_path, request.getfixturevalue("server") if kind == "s3" else None)) as made:
        yield made
