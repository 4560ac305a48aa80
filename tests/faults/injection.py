"""The faults that are injected into a plant, one function each."""

from __future__ import annotations

import os
import random
import signal
import socket
import sqlite3
import struct
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from sqlalchemy import create_engine

from tests.support.plant import LEASE_SECONDS, Member, Plant
from tests.support.postgres import PostgresServer

_STOPPED_SECONDS = 2.5 * LEASE_SECONDS


class Injector:
    """Breaks a plant. The same seed breaks the same things in the same order.

    Args:
        plant: The plant.
        seed: Decides which fault comes when.
        server: The plant's database server, None with SQLite.

    Attributes:
        counts: Number of faults by kind.
    """

    def __init__(self, plant: Plant, seed: int, server: PostgresServer | None) -> None:
        self._plant = plant
        self._server = server
        self._random = random.Random(seed)
        self._pool = ThreadPoolExecutor(8)
        self._pending: list[Future[None]] = []
        self._restarting = (Lock(), Lock())
        self.counts: Counter[str] = Counter()
        database = ((3, self._end_connections), (1, self._crash_database), (1, self._pause_database))
        self._faults: tuple[tuple[int, Callable[[], Callable[[], None] | None]], ...] = (
            (3, self._kill_worker),
            (3, self._stop_worker),
            (1, self._kill_host),
            (1, self._drain_host),
            (1, self._kill_api),
            (1, self._drain_api),
            (2, self._kill_sandbox),
            (3, self._cut_upload),
            (2, self._lose_answer),
            (2, self._open_halves),
            *(database if server else ((3, self._lock_database),)),
        )

    def inject(self) -> None:
        """Inject one fault; what it takes to end it (a restart, SIGCONT) goes on in the background."""
        weights = [weight for weight, _ in self._faults]
        while True:
            _, fault = self._random.choices(self._faults, weights)[0]
            follow_up = fault()
            if follow_up is not None:
                self.counts[fault.__name__.strip("_").replace("_", " ")] += 1
                self._pending.append(self._pool.submit(follow_up))
                return

    def finish(self) -> None:
        """Wait until every fault has ended.

        Raises:
            Exception: A process did not come back.
        """
        for future in self._pending:
            future.result(180)
        self._pool.shutdown()

    def _kill_worker(self) -> Callable[[], None] | None:
        return self._signal_child(self._plant.hosts, signal.SIGKILL)

    def _kill_sandbox(self) -> Callable[[], None] | None:
        return self._signal_child(self._plant.apis, self._random.choice((signal.SIGKILL, signal.SIGTERM)))

    def _stop_worker(self) -> Callable[[], None] | None:
        host = self._random.choice(self._plant.hosts)
        workers = host.children()
        if not workers:
            return None

        def stop() -> None:
            with suppress(ProcessLookupError):
                os.kill(workers[0], signal.SIGSTOP)
                time.sleep(_STOPPED_SECONDS)
                os.kill(workers[0], signal.SIGCONT)

        return stop

    def _kill_host(self) -> Callable[[], None] | None:
        return self._restart(self._plant.hosts, signal.SIGKILL)

    def _drain_host(self) -> Callable[[], None] | None:
        return self._restart(self._plant.hosts, signal.SIGTERM)

    def _kill_api(self) -> Callable[[], None] | None:
        return self._restart(self._plant.apis, signal.SIGKILL)

    def _drain_api(self) -> Callable[[], None] | None:
        return self._restart(self._plant.apis, signal.SIGTERM)

    def _cut_upload(self) -> Callable[[], None] | None:
        """Reset the connection in the middle of an upload."""
        sent = self._random.randrange(1, 200_000)
        return lambda: self._post_raw(bytes(sent), announced=200_000)

    def _lose_answer(self) -> Callable[[], None] | None:
        """Send a whole job and reset the connection before its answer: a job that nobody knows of, which runs."""
        wait = self._random.random()
        return lambda: self._post_raw(None, wait=wait)

    def _open_halves(self) -> Callable[[], None] | None:
        """Open connections that send half a header and then nothing."""
        api = self._random.choice(self._plant.apis)

        def open_and_wait() -> None:
            connections = []
            with suppress(OSError):
                for _ in range(50):
                    connections.append(socket.create_connection(("127.0.0.1", api.port), 5))
                    connections[-1].sendall(b"GET /health/live HTTP/1.1\r\nHost: local")
            time.sleep(2)
            for connection in connections:
                connection.close()

        return open_and_wait

    def _lock_database(self) -> Callable[[], None] | None:
        """Hold the write lock of SQLite, as a backup does."""

        def lock() -> None:
            connection = sqlite3.connect(self._plant.database.removeprefix("sqlite:///"), timeout=30)
            with suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(1.0)
            connection.close()

        return lock

    def _end_connections(self) -> Callable[[], None] | None:
        """End all connections of PostgreSQL but this one."""
        server = self._server
        assert server is not None

        def end() -> None:
            engine = create_engine(server.url)
            with suppress(Exception), engine.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                )
            engine.dispose()

        return end

    def _crash_database(self) -> Callable[[], None] | None:
        return self._alone(lambda server: (server.stop(), time.sleep(0.3), server.start()))

    def _pause_database(self) -> Callable[[], None] | None:
        return self._alone(lambda server: (server.pause(), time.sleep(1.5), server.resume()))

    def _alone(self, action: Callable[[PostgresServer], object]) -> Callable[[], None]:
        """Break the database here and now: two faults of it at once would hide each other."""
        assert self._server is not None
        action(self._server)
        return lambda: None

    def _signal_child(self, members: list[Member], number: signal.Signals) -> Callable[[], None] | None:
        children = self._random.choice(members).children()
        if not children:
            return None
        with suppress(ProcessLookupError):
            os.kill(self._random.choice(children), number)
        return lambda: None

    def _restart(self, members: list[Member], number: signal.Signals) -> Callable[[], None] | None:
        """End one of two processes and start it again; the other one is left alone meanwhile."""
        member, alone = self._random.choice(members), self._restarting[members is self._plant.apis]
        if not alone.acquire(blocking=False):
            return None

        def restart() -> None:
            try:
                self._plant.kill(member, number)
            finally:
                alone.release()

        return restart

    def _post_raw(self, video: bytes | None, announced: int = 0, wait: float = 0.05) -> None:
        """Post over a socket and reset the connection."""
        api = self._random.choice(self._plant.apis)
        body = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n' % part
            for part in ((b"video", self._plant.clip), (b"mask", self._plant.mask))
        )
        sent = body + b"--b--\r\n" if video is None else body[:90] + video
        length = len(sent) if video is None else announced + len(body)
        with suppress(OSError), socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            head = "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + sent)
            time.sleep(wait)
