"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from service.run.torch_runtime import prepare_torch
from tests.support.paths import ROOT
from tests.support.postgres import PostgresServer

# As the command line does, before anything loads torch.
prepare_torch()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with data and goldens beside the checkout, or KEYMASK_SHARED_DIR; skips the test where it is absent."""
    folder = Path(os.environ.get("KEYMASK_SHARED_DIR", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: this test needs the shared data folder (set KEYMASK_SHARED_DIR)")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of the session."""
    # Not below pytest's folder: the server may run as another user, to whom the next pytest run would close that.
    with TemporaryDirectory(prefix="keymask-postgres-") as folder:
        server = PostgresServer(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> PostgresServer:
    """The server, with an empty database."""
    postgres_server.empty()
    return postgres_server
