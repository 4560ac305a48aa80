"""Connections to PostgreSQL that give up on a server that hangs, restarts or is away.

The server's own timeouts bound what it does for a connection. They do not fire if its processes are stopped or a proxy
in between is silent, so `BoundedConnection` also bounds each answer on this side.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from threading import Lock
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, QueuePool, create_engine, event

from service.jobs.database import DatabaseAwayError
from service.runtime.threads import THREADS

CONNECT_SECONDS = 4
"""How long a connection may take to open."""
STATEMENT_SECONDS = 5
"""How long the server works on a statement."""
_IDLE_SECONDS = 15
"""How long the server keeps the locks of a transaction whose process is stopped."""
_ANSWER_MARGIN_SECONDS = 1.0
"""How much longer than the server this side waits for an answer."""
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.5, 5.0
_KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer in time."""

    answer_seconds = STATEMENT_SECONDS + _ANSWER_MARGIN_SECONDS

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer.

        Raises:
            psycopg.OperationalError: It did not come in time.
        """
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Pass on what `gen` waits for. psycopg resumes it several times per second, without a socket being ready."""
        deadline = time.monotonic() + self.answer_seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the database did not answer within {self.answer_seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as stop:
            return stop.value


class CircuitBreaker:
    """While the database is away, lets one call at a time try it; all others fail at once instead of waiting too.

    The pauses between two tries double up to a limit, and are random within a factor of two, so that the processes of
    a service do not try all at once.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._pause = 0.0
        self._try_at = 0.0

    def check(self) -> None:
        """Let a call pass.

        Raises:
            DatabaseAwayError: The database is away, and it is not yet time for the next try.
        """
        with self._lock:
            now = time.monotonic()
            if self._pause and now < self._try_at:
                raise DatabaseAwayError("the database does not answer")
            self._try_at = now + STATEMENT_SECONDS + CONNECT_SECONDS + 2 * _ANSWER_MARGIN_SECONDS

    def fail(self) -> None:
        """Note that the database does not answer."""
        with self._lock:
            self._pause = min(_MAX_PAUSE_SECONDS, 2 * self._pause or _MIN_PAUSE_SECONDS)
            self._try_at = time.monotonic() + self._pause * random.uniform(0.5, 1.0)

    def succeed(self) -> None:
        """Note that the database answers."""
        with self._lock:
            self._pause = 0.0


class BreakerPool(QueuePool):
    """A pool whose calls fail at once while the database is away."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._breaker = CircuitBreaker()

    def connect(self) -> Any:
        """Return a connection that has just answered.

        Raises:
            DatabaseAwayError: The database is away.
            psycopg.OperationalError: The database does not answer.
        """
        self._breaker.check()
        try:
            connection = super().connect()
        except psycopg.Error:
            self._breaker.fail()
            raise
        self._breaker.succeed()
        return connection


def open_postgres(url: URL, statement_seconds: float = STATEMENT_SECONDS) -> Engine:
    """Return an engine whose calls fail in bounded time. Parameters of libpq in the URL take precedence.

    Args:
        url: URL of the database.
        statement_seconds: How long the server may work on a statement; this side waits a little longer.
    """
    limits = {
        "statement_timeout": statement_seconds,
        # It fires first, so that the error says what the statement waited for.
        "lock_timeout": 0.6 * statement_seconds,
        "idle_in_transaction_session_timeout": _IDLE_SECONDS,
    }
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": int(1000 * (statement_seconds + _ANSWER_MARGIN_SECONDS)),
        "options": " ".join(f"-c {name}={int(1000 * seconds)}" for name, seconds in limits.items()),
        # A prepared statement belongs to one connection of the server. Behind a pooler such as PgBouncer, the next
        # transaction may run on another one.
        "prepare_threshold": None,
        # psycopg returns bytes from a database in SQL_ASCII, the encoding of a server set up in the C locale.
        "client_encoding": "utf8",
        **_KEEPALIVE,
    }
    given = {name: value for name, value in url.query.items() if name in arguments}
    engine = create_engine(
        url,
        connect_args=arguments | given,
        poolclass=BreakerPool,
        pool_pre_ping=True,
        pool_size=THREADS + 1,
        max_overflow=THREADS,
        pool_timeout=STATEMENT_SECONDS,
    )

    def connect(_dialect: Any, _record: Any, args: Any, params: Any) -> BoundedConnection:
        connection = BoundedConnection.connect(*args, **params)
        connection.answer_seconds = statement_seconds + _ANSWER_MARGIN_SECONDS
        return connection

    event.listen(engine, "do_connect", connect)
    return engine
