"""Opens the database and brings its schema up to date."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, QueuePool, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.errors import UsageError
from service.runtime.threads import THREADS

_BUSY_SECONDS = 10.0
"""How long a SQLite connection waits for the change of another connection."""
_MIGRATION_SECONDS = 600.0
"""How long one statement of a migration may take in PostgreSQL, or wait for the migration of another process."""
_MIGRATION_LOCK = 0x6B65796D61736B
"""PostgreSQL advisory lock of the process that migrates ("keymask" in ASCII)."""
_CREATION_LOCK = _MIGRATION_LOCK + 1
"""PostgreSQL advisory lock that creates jobs one at a time."""
_alembic = Lock()
"""Held while Alembic runs, because it keeps its context in global variables."""


class DatabaseAwayError(SQLAlchemyError):
    """The database did not answer a moment ago, so this call was not tried."""


def is_transient(error: SQLAlchemyError) -> bool:
    """Return whether the call may succeed later: the database is away, restarts, hangs or is locked."""
    # PostgreSQL ends the connection of a process that was stopped in a transaction with an error of another class.
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return is_lost or isinstance(error, (DatabaseAwayError, OperationalError, InterfaceError, PoolTimeoutError))


def open_database(url: str) -> Engine:
    """Return an SQLAlchemy engine for the URL.

    Raises:
        UsageError: This is not a URL of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError as error:
        raise UsageError(
            f"the database is {url!r}; a URL is expected, such as sqlite:////var/lib/keymask/jobs.db"
        ) from error
    if backend == "postgresql":
        if (driver := parsed.get_driver_name()) != "psycopg":
            raise UsageError(f"the database driver is {driver}; allowed for PostgreSQL: postgresql+psycopg://")
        from service.jobs.postgres import open_postgres  # noqa: PLC0415 - psycopg is an optional dependency

        return open_postgres(parsed)
    if backend != "sqlite":
        raise UsageError(f"the database is {backend}; allowed: sqlite, postgresql")
    arguments = {"timeout": _BUSY_SECONDS, "check_same_thread": False}
    if parsed.database in (None, "", ":memory:"):
        # Each connection would open its own in-memory database, so all threads share one connection.
        return create_engine(parsed, connect_args=arguments, poolclass=QueuePool, pool_size=1, max_overflow=0)
    Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    # The service's threads, the supervisor and its housekeeping share this pool. Further connections would be opened
    # and closed for a single call, which takes longer than waiting for a free one.
    engine = create_engine(
        parsed, connect_args=arguments, pool_size=THREADS + 2, max_overflow=0, pool_timeout=_BUSY_SECONDS
    )
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    # Readers and the writer do not block each other, and a committed change survives a power cut.
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous=FULL")
    # The system caches pages too; by default each connection's own cache grows to 2 MB.
    connection.execute("PRAGMA cache_size=-256")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log.

    SQLite does not wait for this lock when several connections switch a new database at once, so retry.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def migrate(engine: Engine) -> None:
    """Migrate the schema to the newest version in one transaction, one process at a time.

    Raises:
        UsageError: The schema is that of a newer keymask.
    """
    try:
        _run_migrations(engine, command.upgrade, "head")
    except CommandError as error:  # the revision in the database has no script here
        raise UsageError(
            f"the database has the schema of a newer keymask ({error}); run that version, or restore the backup "
            "from before its first start"
        ) from error


def roll_back(engine: Engine, revision: str) -> None:
    """Take the schema back to an earlier revision in one transaction; what only later ones store is lost.

    Raises:
        UsageError: There is no such revision, or it is not an earlier one.
    """
    try:
        _run_migrations(engine, command.downgrade, revision)
    except CommandError as error:
        raise UsageError(f"the schema cannot go back to {revision!r:.40}: {error}") from None


def _run_migrations(engine: Engine, run: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with _alembic, _patient(engine) as patient, patient.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            # In the transaction too: behind a pooler, what the connection asked for at its start does not count.
            for timeout in ("statement_timeout", "lock_timeout"):
                connection.exec_driver_sql(f"SET LOCAL {timeout} = {int(1000 * _MIGRATION_SECONDS)}")
            _lock(connection, _MIGRATION_LOCK)
        config.attributes["connection"] = connection
        run(config, revision)


@contextmanager
def _patient(engine: Engine) -> Iterator[Engine]:
    """Yield an engine of the same database that waits long enough for a migration."""
    if engine.dialect.name == "sqlite":
        yield engine
        return
    from service.jobs.postgres import open_postgres  # noqa: PLC0415

    patient = open_postgres(engine.url, _MIGRATION_SECONDS)
    try:
        yield patient
    finally:
        patient.dispose()


def lock_creation(connection: Connection) -> None:
    """Make other transactions that create jobs wait for this one, so each counts all earlier jobs.

    SQLite does this by itself from the first change of a transaction on.
    """
    if connection.dialect.name == "postgresql":
        _lock(connection, _CREATION_LOCK)


@contextmanager
def relaxed_transaction(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that commits without waiting for the disk; a power cut may undo it as a whole."""
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


def upsert(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Insert a row, or change its values if the key exists; both databases do so in one statement."""
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = insert(table).values(**key, **values)
    connection.execute(row.on_conflict_do_update(index_elements=list(key), set_=dict(values)))


def _lock(connection: Connection, number: int) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")
