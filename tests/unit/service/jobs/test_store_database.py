"""The database of the job store: schema, migration and connections."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, event, insert, inspect, make_url, text

from service.errors import UsageError
from service.jobs import database
from service.jobs.schema import jobs, metadata, row_of
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus, LogSegment
from service.run.options import JobOptions
from service.runtime.threads import THREADS
from tests.support.postgres import PostgresServer

NewJob = Callable[..., Job]


def test_migrations_create_the_schema_of_the_code(store: JobStore) -> None:
    """Alembic builds the table that `service.jobs.schema` defines."""
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(database_url: str, new_job: NewJob) -> None:
    """A second start keeps the jobs of a database (an in-memory database ends with its store)."""
    first = JobStore(database_url)
    job, _ = first.create(new_job())
    first.close()
    second = JobStore(database_url)
    assert [j.id for j in second.page().jobs] == ([] if database_url == "sqlite://" else [job.id])
    second.close()


def test_jobs_of_an_earlier_schema_keep_their_masks(database_url: str, new_job: NewJob) -> None:
    """After the migration a job from before there were fences lists its whole log, and a worker can claim it."""
    if database_url == "sqlite://":
        pytest.skip("an in-memory database has no earlier version")
    store = JobStore(database_url)
    ids = [store.create(new_job(status=status))[0].id for status in (JobStatus.SUCCEEDED, JobStatus.QUEUED)]
    store.close()
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    engine = database.open_database(database_url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert "fence" not in {column["name"] for column in inspect(connection).get_columns("jobs")}
    engine.dispose()
    store = JobStore(database_url)
    assert [store.get(job_id).segments for job_id in ids] == [(LogSegment(0),)] * 2
    claimed = store.claim_next("w")
    assert claimed is not None
    assert (claimed.id, claimed.fence) == (ids[1], 1)
    assert store.create(new_job())[0].segments == ()
    store.close()


def test_a_database_in_ascii_keeps_texts(postgres: PostgresServer, new_job: NewJob) -> None:
    """A server set up in the C locale makes databases in SQL_ASCII, of which drivers return bytes by default."""
    server = create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0"))
        url = make_url(postgres.url).set(database="plain").render_as_string(hide_password=False)
        store = JobStore(url)
        job, _ = store.create(new_job(options=JobOptions(labels={1: "Käthe"})))
        assert store.get(job.id) == job
        store.close()
        connection.execute(text("DROP DATABASE plain"))
    server.dispose()


def test_a_schema_is_taken_back_and_brought_up_again(database_url: str, new_job: NewJob) -> None:
    """Jobs stay; what is no earlier version is refused and changes nothing."""
    if database_url == "sqlite://":
        pytest.skip("an in-memory database has no earlier version")
    store = JobStore(database_url)
    job, _ = store.create(new_job(status=JobStatus.SUCCEEDED, report={"frames": 12}))
    newest = store.schema_version()
    for unknown in ("9999", "nonsense"):
        with pytest.raises(UsageError, match="cannot go back"):
            store.roll_back(unknown)
    store.roll_back("0006")
    assert store.schema_version() == "0006"
    store.close()
    store = JobStore(database_url)
    assert store.schema_version() == newest
    assert store.get(job.id) == job
    store.close()


def test_the_version_before_works_on_the_schema_of_this_one(database_url: str, new_job: NewJob) -> None:
    """It stores jobs without the newest columns, while processes are replaced one by one."""
    if database_url == "sqlite://":
        pytest.skip("an in-memory database has no earlier version")
    store = JobStore(database_url)
    store.roll_back(f"{int(store.schema_version()) - 1:04}")
    with store._engine.connect() as connection:
        known = {column["name"] for column in inspect(connection).get_columns("jobs")}
    database.migrate(store._engine)
    job = new_job()
    with store._engine.begin() as connection:
        row = {name: value for name, value in row_of(job).items() if name in known}
        connection.execute(insert(jobs).values(row))
    assert store.get(job.id) == job
    store.close()


def test_opening_waits_for_another_writer(tmp_path: Path) -> None:
    """SQLite does not wait when switching to its write-ahead log; the store retries until the writer is done."""
    path = tmp_path / "jobs.db"
    first = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    first.execute("BEGIN IMMEDIATE")
    later = threading.Timer(0.3, lambda: first.execute("COMMIT"))
    later.start()
    assert _open_and_count(f"sqlite:///{path}") == 0
    later.join()
    first.close()


def test_several_processes_can_migrate_at_once(database_url: str) -> None:
    """Simultaneous first starts on one database all succeed: the first one migrates, the others wait for it."""
    if database_url == "sqlite://":
        pytest.skip("each process has an in-memory database of its own")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(_open_and_count, [database_url] * 2)) == [0] * 2


def test_the_schema_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """After a rollback, the error says what to do; nothing is changed."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    store = JobStore(url)
    with store._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UsageError, match=r"newer keymask.*9999"):
        JobStore(url)
    assert store.schema_version() == "9999"
    store.close()


def _open_and_count(url: str) -> int:
    store = JobStore(url)
    try:
        return sum(store.counts().values())
    finally:
        store.close()


def test_a_burst_of_calls_opens_few_connections(tmp_path: Path, new_job: NewJob) -> None:
    """However many threads use a SQLite file, the store opens no more connections than the service has threads."""
    opened: list[object] = []
    store = JobStore(f"sqlite:///{tmp_path}/jobs.db")
    event.listen(store._engine, "connect", lambda connection, _: opened.append(connection))
    job, _ = store.create(new_job())
    with ThreadPoolExecutor(16) as pool:
        assert all(found == job for found in pool.map(lambda _: store.get(job.id), range(200)))
    assert len(opened) <= THREADS + 1
    store.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://localhost/x"])
def test_other_databases_are_refused(url: str) -> None:
    """The error names the given database."""
    with pytest.raises(UsageError, match="database is"):
        JobStore(url)
