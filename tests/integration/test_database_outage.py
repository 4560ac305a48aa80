"""A database that hangs, restarts, crashes, is locked or lies behind a silent proxy: 503 in bounded time, then 200."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

import service.jobs.postgres as postgres_module
from service.jobs import database
from service.jobs.database import DatabaseAwayError, is_transient
from service.jobs.postgres import CONNECT_SECONDS, STATEMENT_SECONDS, CircuitBreaker, open_postgres
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus
from service.runtime.logs import configure_logging
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave
from tests.support.postgres import PostgresServer
from tests.support.serving import Served, served
from tests.support.silent_proxy import silent_proxy
from tests.support.waiting import wait_for

BOUND_SECONDS = STATEMENT_SECONDS + CONNECT_SECONDS + 6
"""Within this time every request is answered; the margin is for a busy machine."""


@pytest.fixture
def service(tmp_path: Path, postgres: PostgresServer) -> Iterator[Served]:
    """A service with its jobs in PostgreSQL."""
    with served(tmp_path / "service", database_url=postgres.url) as running:
        yield running


@pytest.fixture
def log_size(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Function that returns the bytes the service has logged so far."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    written = [0]

    class Counter:
        def write(self, line: str) -> None:
            written[0] += len(line)

        def flush(self) -> None:
            pass

    with monkeypatch.context() as context:
        context.setattr(sys, "stderr", Counter())
        configure_logging("info")
    yield lambda: written[0]
    root.handlers[:] = handlers
    root.setLevel(level)


@dataclass
class _Disposed:
    """An engine whose connections are closed at the end."""

    engine: Engine

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.monotonic()
    return call(), time.monotonic() - began


def _is_refused(answer: httpx.Response) -> bool:
    kind = answer.json()["type"]
    return (answer.status_code, kind, answer.headers["retry-after"]) == (503, "/problems/database-unavailable", "5")


def test_requests_meet_a_hanging_database(
    service: Served, postgres: PostgresServer, log_size: Callable[[], int]
) -> None:
    """All requests are answered 503 in bounded time, later ones at once; live answers; little is logged; then 200."""
    get = partial(service.client.get, f"/v1/jobs/{service.run()}")
    service.engine.paused.set()
    waiting = service.post().json()["id"]
    with ThreadPoolExecutor(30) as pool:
        followers = [pool.submit(_last_event, service, waiting) for _ in range(5)]
        try:
            wait_for(lambda: service.services.watcher.followers == 5)
            before = log_size()
            postgres.pause()
            try:
                answers = [pool.submit(_timed, get) for _ in range(12)]
                live, seconds = _timed(partial(service.client.get, "/health/live"))
                assert (live.status_code, seconds < 2) == (200, True)
                for answer, seconds in (future.result() for future in answers):
                    assert _is_refused(answer)
                    assert seconds < BOUND_SECONDS
                # Now only one call at a time tries the database; the others fail at once.
                answers = [pool.submit(_timed, service.post if i % 2 else get) for i in range(12)]
                results = [future.result() for future in answers]
                assert all(_is_refused(answer) for answer, _ in results)
                assert sorted(seconds for _, seconds in results)[8] < 3
                assert service.client.get("/health/ready").status_code == 503
            finally:
                postgres.resume()
            assert log_size() - before < 200_000
            wait_for(lambda: get().status_code == 200, 30)
            wait_for(lambda: service.client.post(f"/v1/jobs/{waiting}/cancel").status_code == 200, 30)
            assert {future.result() for future in followers} == {"done"}
        finally:
            service.engine.paused.clear()  # the job then ends, and so do the followers of a test that fails
    assert service.run()


def _last_event(service: Served, job_id: str) -> str:
    """Follow a job to its end, across the outage; return the kind of the last event."""
    with httpx.Client(base_url=service.client.base_url, timeout=240) as client:
        events = client.get(f"/v1/jobs/{job_id}/events").text
    return [line for line in events.splitlines() if line.startswith("event: ")][-1].removeprefix("event: ")


@pytest.mark.parametrize("mode", [pytest.param("fast", marks=pytest.mark.long), "immediate"])
def test_the_database_restarts(service: Served, postgres: PostgresServer, mode: str) -> None:
    """While the server is away, requests are refused at once; after an orderly restart or a crash all is as before."""
    job_id = service.run()
    postgres.stop(mode)
    try:
        for _ in range(5):
            answer, seconds = _timed(partial(service.client.get, f"/v1/jobs/{job_id}"))
            assert _is_refused(answer)
            assert seconds < 2
    finally:
        postgres.start()
    wait_for(lambda: service.client.get(f"/v1/jobs/{job_id}").status_code == 200, 30)
    assert service.run()


@pytest.mark.long
def test_a_silent_proxy_counts_as_a_database_that_is_away(tmp_path: Path, postgres: PostgresServer) -> None:
    """Its kernel acknowledges every packet, so no timeout of TCP or of the server fires; the store's own does."""
    with silent_proxy(postgres.port) as proxy:
        url = postgres.url.replace(str(postgres.port), str(proxy.port))
        store = JobStore(url)
        store._engine = open_postgres(make_url(url), statement_seconds=1)
        with closing(store):
            store.ping()
            proxy.talks.clear()
            for within in (2 + CONNECT_SECONDS + 2, 0.1):
                began = time.monotonic()
                with pytest.raises((OperationalError, DatabaseAwayError)):
                    store.ping()
                assert time.monotonic() - began < within
            proxy.talks.set()
            wait_for(lambda: _succeeds(store.ping), 20)


def _succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except (OperationalError, DatabaseAwayError):
        return False
    return True


def test_a_statement_may_not_take_for_ever(postgres: PostgresServer) -> None:
    """The server ends a statement that is too slow or waits too long for a lock; the connection stays usable."""
    engine = open_postgres(make_url(postgres.url), statement_seconds=1)
    with closing(_Disposed(engine)), engine.connect() as holder, engine.connect() as other:
        holder.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
        with pytest.raises(OperationalError, match="lock timeout"):
            other.exec_driver_sql("SELECT pg_advisory_xact_lock(1)")
        other.rollback()
        with pytest.raises(OperationalError, match="statement timeout"):
            other.exec_driver_sql("SELECT pg_sleep(5)")
        other.rollback()
        assert other.exec_driver_sql("SELECT 1").scalar() == 1


def test_parameters_of_the_url_take_precedence(postgres: PostgresServer) -> None:
    """`options` of the URL replaces the limits of the server."""
    engine = open_postgres(make_url(f"{postgres.url}?options=-c%20statement_timeout%3D1234"))
    with closing(_Disposed(engine)), engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1234ms"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0"


def test_a_stop_is_bounded_while_the_database_hangs(site: Site, postgres: PostgresServer) -> None:
    """The engine stops though nothing can be stored; the job runs again after the next start."""
    site.store.close()
    site.store = JobStore(postgres.url)
    behave(site.home, seconds=0.2)
    engine = site.start(grace_seconds=1.0)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 2)
    pid = engine.workers()[0].pid
    assert pid is not None
    postgres.pause()
    try:
        _, seconds = _timed(engine.stop)
        assert seconds < 1 + 2 * BOUND_SECONDS
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    finally:
        postgres.resume()
    behave(site.home)
    site.start()
    assert site.finished(job).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("outage", [pytest.param("restart", marks=pytest.mark.long), "hang"])
def test_a_running_job_survives_an_outage(site: Site, postgres: PostgresServer, outage: str) -> None:
    """Its worker goes on writing masks while the database is away for longer than a lease, and stores the end later."""
    site.store.close()
    site.store = JobStore(postgres.url)
    behave(site.home, seconds=0.4)
    engine = site.start(lease_seconds=3.0)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 2)
    (postgres.pause if outage == "hang" else partial(postgres.stop, "immediate"))()
    try:
        time.sleep(4)  # longer than the lease
        before = _bytes_of_masks(site, job)
        wait_for(lambda: _bytes_of_masks(site, job) > before, 2 * BOUND_SECONDS)
    finally:
        (postgres.resume if outage == "hang" else postgres.start)()
    wait_for(lambda: _succeeds(site.store.ping), 30)
    done = site.finished(job)
    assert (done.status, done.attempts, done.deaths) == (JobStatus.SUCCEEDED, 1, 0)
    assert site.lines(done) == FRAMES


def _bytes_of_masks(site: Site, job: Job) -> int:
    """Return the size of the mask log without asking the database which parts count."""
    return sum(path.stat().st_size for path in site.files(job).folder.glob("frames*"))


def test_a_locked_sqlite_database_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the lock of writers, changes are refused with 503; reads work."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.3)
    with served(tmp_path / "service") as service:
        job_id = service.run()
        lock = sqlite3.connect(tmp_path / "service" / "service" / "jobs.db", isolation_level=None)
        with closing(lock):
            lock.execute("BEGIN IMMEDIATE")
            assert _is_refused(service.post())
            assert _is_refused(service.client.delete(f"/v1/jobs/{job_id}"))
            assert service.client.get(f"/v1/jobs/{job_id}").status_code == 200
            lock.execute("COMMIT")
        assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204


class TestCircuitBreaker:
    """Which calls try a database that is away."""

    def test_one_call_at_a_time_tries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a failure calls fail at once; after a pause one tries; once one succeeds, all pass."""
        now = [0.0]
        monkeypatch.setattr(postgres_module.time, "monotonic", lambda: now[0])
        breaker = CircuitBreaker()
        for _ in range(3):
            breaker.check()
        breaker.fail()
        with pytest.raises(DatabaseAwayError):
            breaker.check()
        now[0] = 0.51
        breaker.check()
        with pytest.raises(DatabaseAwayError):
            breaker.check()
        breaker.succeed()
        for _ in range(3):
            breaker.check()

    def test_pauses_grow_to_a_limit_and_differ(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pauses double, are bounded, and are not the same in two processes."""
        monkeypatch.setattr(postgres_module.time, "monotonic", lambda: 0.0)
        pauses: list[list[float]] = []
        for _ in range(2):
            breaker = CircuitBreaker()
            pauses.append([])
            for _ in range(12):
                breaker.fail()
                pauses[-1].append(breaker._try_at)
        assert all(0.25 <= first[0] <= 0.5 and 2.5 <= first[-1] <= 5.0 for first in pauses)
        assert pauses[0] != pauses[1]


def test_a_process_that_was_stopped_in_a_transaction_may_try_again(postgres: PostgresServer) -> None:
    """The server has ended its connection, with an error that is not of the class of other outages."""
    url = make_url(postgres.url).update_query_dict({"options": "-c idle_in_transaction_session_timeout=200"})
    engine = open_postgres(url)
    with closing(_Disposed(engine)):
        with engine.connect() as stopped:
            stopped.exec_driver_sql("SELECT 1")
            time.sleep(0.5)
            with pytest.raises(SQLAlchemyError, match="idle-in-transaction timeout") as raised:
                stopped.exec_driver_sql("SELECT 1")
        assert not isinstance(raised.value, OperationalError)
        assert is_transient(raised.value)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1
