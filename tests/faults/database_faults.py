"""Databases that are locked, hang or are away."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import suppress

from sqlalchemy import create_engine

from tests.faults.fault import FollowUp, WeightedFaults, nothing
from tests.support.postgres import PostgresServer


class SqliteFaults:
    """Faults of SQLite.

    Args:
        database: URL of the database.
    """

    def __init__(self, database: str) -> None:
        self._path = database.removeprefix("sqlite:///")

    def faults(self) -> WeightedFaults:
        """Return all faults."""
        return ((3, self.lock_database),)

    def lock_database(self) -> FollowUp:
        """Hold the write lock, as a backup does."""

        def lock() -> None:
            connection = sqlite3.connect(self._path, timeout=30)
            with suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(1.0)
            connection.close()

        return lock


class PostgresFaults:
    """Faults of PostgreSQL. It breaks here and now: two faults of it at once would hide each other.

    Args:
        server: The server.
        chooser: Decides for how long it is away.
    """

    def __init__(self, server: PostgresServer, chooser: random.Random) -> None:
        self._server = server
        self._random = chooser

    def faults(self) -> WeightedFaults:
        """Return all faults."""
        return ((3, self.end_connections), (1, self.crash_database), (1, self.pause_database))

    def end_connections(self) -> FollowUp:
        """End all connections but this one."""

        def end() -> None:
            engine = create_engine(self._server.url)
            with suppress(Exception), engine.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                )
            engine.dispose()

        return end

    def crash_database(self) -> FollowUp:
        """Let the server crash, and start it again after a while."""
        self._server.stop()
        time.sleep(self._random.uniform(0.3, 3.0))
        self._server.start()
        return nothing

    def pause_database(self) -> FollowUp:
        """Stop the server in mid-work, and let it go on."""
        self._server.pause()
        time.sleep(1.5)
        self._server.resume()
        return nothing
