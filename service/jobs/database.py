"""Opens the database and brings its schema up to date."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from service.errors import UsageError
from service.threads import THREADS

_BUSY_SECONDS = 30.0
"""How long a SQLite connection waits for another one's change."""
_MIGRATION_LOCK = 0x6B65796D61736B
"""Number of the PostgreSQL advisory lock under which one process migrates ("keymask" in ASCII)."""
_CREATION_LOCK = _MIGRATION_LOCK + 1
"""Likewise of the one under which jobs are created, one after the other."""
_alembic = Lock()
"""Alembic keeps its context in global variables."""


def open_database(url: str) -> Engine:
    """An engine for the URL.

    Raises:
        UsageError: It is not a URL, or of another kind of database.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError as error:
        raise UsageError(
            f"the database is {url!r}; a URL is expected, such as sqlite:////var/lib/keymask/jobs.db"
        ) from error
    if backend == "postgresql":
        return create_engine(parsed, pool_pre_ping=True)
    if backend != "sqlite":
        raise UsageError(f"the database is {backend}; allowed: sqlite, postgresql")
    arguments = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
    if parsed.database in (None, "", ":memory:"):
        # Each connection would have a memory of its own; one connection that threads take in turn is one database.
        return create_engine(parsed, connect_args=arguments, poolclass=QueuePool, pool_size=1, max_overflow=0)
    Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    # Of this pool's users only the engine's thread is not one of those threads. A connection beyond it would be opened
    # and closed for one call, which takes longer than to wait for one.
    engine = create_engine(parsed, connect_args=arguments, pool_size=THREADS + 1, max_overflow=0)
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    # Readers and the one writer do not wait for each other, and what was acknowledged survives a power cut.
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous=FULL")
    # Pages lie in the system's cache too: by default each connection's own grows to 2 MB along with the database.
    connection.execute("PRAGMA cache_size=-256")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log. Where several switch a new database at once, SQLite lets none of them wait."""
    given_up = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > given_up:
                raise
            time.sleep(0.02)
        else:
            return


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest version, in one transaction that only one process enters at a time."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with _alembic, engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            _lock(connection, _MIGRATION_LOCK)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def lock_creation(connection: Connection) -> None:
    """Let other creations of jobs wait until this transaction ends, so that each counts all that were made before it.

    In SQLite they do so by themselves, from the transaction's first change on.
    """
    if connection.dialect.name == "postgresql":
        _lock(connection, _CREATION_LOCK)


@contextmanager
def hasty(engine: Engine) -> Iterator[Connection]:
    """A transaction that is not on the disk when the block ends; a power cut may undo it, as if it had not been."""
    with engine.connect() as connection:
        is_sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("PRAGMA synchronous=NORMAL" if is_sqlite else "SET LOCAL synchronous_commit TO OFF")
        try:
            yield connection
            connection.commit()
        finally:
            if is_sqlite:
                connection.rollback()
                connection.exec_driver_sql("PRAGMA synchronous=FULL")


def _lock(connection: Connection, number: int) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")
