"""PostgreSQL behind a pooler of transactions, which gives each transaction any connection of the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import create_engine, text

from service.jobs.requests import QueueLimits
from service.jobs.store import JobStore
from service.jobs.types import Job, JobProgress, JobStatus, JobVideo, LogSegment, new_job_id
from service.run.options import JobOptions
from tests.support.pgbouncer import PgBouncer, find_pgbouncer
from tests.support.postgres import PostgresServer

JOBS = 24
WORKERS = 6
LEASE = timedelta(seconds=15)


@pytest.fixture
def pooled_url(postgres: PostgresServer) -> Iterator[str]:
    """URL of an empty database behind PgBouncer."""
    if find_pgbouncer() is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    with TemporaryDirectory(prefix="keymask-pgbouncer-") as folder, PgBouncer(Path(folder), postgres.url) as bouncer:
        yield bouncer.url


def test_a_store_leaves_nothing_in_the_sessions_of_the_server(postgres: PostgresServer) -> None:
    """After many calls no connection has a prepared statement, a lock, a listener or an open transaction."""
    with closing(JobStore(postgres.url)) as store:
        _work(store)
        store.create(_new_job())
        job = store.claim_next("worker", LEASE)
        assert job is not None
        for frames in range(20):  # drivers prepare a statement only after several uses
            store.set_progress(job.id, job.fence, JobProgress(frames, 20))
        with store._engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
            assert connection.scalar(text("SELECT count(*) FROM pg_listening_channels()")) == 0
        observer = create_engine(postgres.url)
        with observer.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
            busy = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
            assert connection.scalar(text(busy)) == 0
        observer.dispose()


@pytest.mark.long
def test_jobs_run_through_a_pooler_of_transactions(pooled_url: str) -> None:
    """Workers that share few connections claim each job once, and every change arrives."""
    stores = [JobStore(pooled_url) for _ in range(2)]  # the second one migrates an up-to-date schema
    with closing(stores[0]), closing(stores[1]), ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda number: stores[number % 2].create(_new_job(), QueueLimits(1000, 1000)), range(JOBS)))
        claimed = Counter(job_id for ids in pool.map(_work, stores * (WORKERS // 2)) for job_id in ids)
        assert set(claimed.values()) == {1}
        assert stores[1].counts()[JobStatus.SUCCEEDED] == JOBS + WORKERS


def _work(store: JobStore) -> list[str]:
    """Make every kind of change that API processes and workers make, until the queue is empty; return the jobs."""
    store.create(_new_job())
    done = []
    while (job := store.claim_next("worker", LEASE)) is not None:
        assert store.renew(job.id, job.fence, LEASE)
        store.set_segments(job.id, job.fence, [LogSegment(job.fence)])
        for frames in range(3):
            assert store.set_progress(job.id, job.fence, JobProgress(frames, 3))
        store.announce_worker("worker", str(len(done)))
        store.move(job.id, JobStatus.RUNNING, JobStatus.SUCCEEDED, fence=job.fence)
        assert store.get(job.id).status is JobStatus.SUCCEEDED
        done.append(job.id)
    return done


def _new_job() -> Job:
    video = JobVideo("h264", 64, 48, 25.0, 3, 0.12, 0)
    return Job(new_job_id(), JobOptions(), video, "0" * 64, datetime.now(UTC))
