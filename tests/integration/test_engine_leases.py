"""Workers that are stopped and continued, and supervisors of several hosts on one database and one folder."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

from service.engine.supervisor import Supervisor
from service.jobs.types import Job, JobStatus
from tests.support.engine_site import Site
from tests.support.fakes import behave
from tests.support.service_process import ServiceProcess
from tests.support.waiting import wait_for

LEASE = 2.0
MARGIN = 20.0
"""Seconds that a busy machine may need on top of a lease."""


def test_a_stopped_host_loses_its_job_and_changes_nothing(site: Site) -> None:
    """Another host takes the job over within the lease and finishes it with the masks of an undisturbed run.

    Continued, the worker of the first host changes neither the row nor the masks, and runs the next job.
    """
    other = site.start(lease_seconds=LEASE)
    expected = site.expected(other)
    other_worker = other.workers()[0].pid
    assert other_worker is not None
    with ServiceProcess(site, lease_seconds=LEASE) as host:
        _stop_between_changes(site, other_worker)  # it is idle: the next job goes to the first host
        behave(site.home, seconds=0.5)
        job = site.submit()
        wait_for(lambda: site.lines(job) >= 3 and site.files(job).state(1).exists())
        first = site.store.get(job.id)
        behave(site.home)
        _stop_between_changes(site, host.process.pid, host.worker)
        os.kill(other_worker, signal.SIGCONT)
        began = time.monotonic()
        wait_for(lambda: site.store.get(job.id).fence > first.fence)
        assert time.monotonic() - began < LEASE + MARGIN
        done = site.finished(job)
        assert (done.status, done.deaths, done.attempts) == (JobStatus.SUCCEEDED, 0, 2)
        assert done.worker != first.worker
        assert done.report is not None
        assert done.report["resumed"]
        assert site.masks(job) == expected
        files = _files_that_count(site, done)
        _stop_between_changes(site, other_worker)
        _send(signal.SIGCONT, host.process.pid, host.worker)
        following = site.finished(site.submit())
        assert (following.status, following.worker) == (JobStatus.SUCCEEDED, first.worker)
        os.kill(other_worker, signal.SIGCONT)
        assert site.store.get(job.id) == done
        assert _files_that_count(site, done) == files
    wait_for(site.is_tidy)


def test_a_stopped_worker_is_replaced_within_the_lease(site: Site) -> None:
    """Its supervisor need not wait for `stall_seconds`; that the worker was stopped is no death."""
    engine = site.start(lease_seconds=LEASE)
    expected = site.expected(engine)
    behave(site.home, seconds=0.5)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 3)
    behave(site.home)
    stopped = engine.workers()[0].pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    began = time.monotonic()
    wait_for(lambda: site.store.get(job.id).status is JobStatus.QUEUED or site.store.get(job.id).attempts > 1)
    assert time.monotonic() - began < LEASE + MARGIN
    done = site.finished(job)
    assert (done.status, done.deaths, done.attempts) == (JobStatus.SUCCEEDED, 0, 2)
    assert site.masks(job) == expected
    assert engine.workers()[0].pid != stopped


def test_a_worker_stopped_in_the_middle_of_a_change_is_replaced_within_the_lease(site: Site) -> None:
    """It locks the SQLite file; its supervisor waits for none of the changes that cannot be made meanwhile."""
    engine = site.start(lease_seconds=LEASE, housekeeping_seconds=0.5)
    expected = site.expected(engine)
    behave(site.home, seconds=0.1)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 3)
    stopped = engine.workers()[0].pid
    assert stopped is not None
    _stop_in_a_change(site, stopped)
    behave(site.home)
    began = time.monotonic()
    wait_for(lambda: site.store.get(job.id).attempts > 1)
    assert time.monotonic() - began < LEASE + MARGIN
    assert site.finished(job).status is JobStatus.SUCCEEDED
    assert site.masks(job) == expected
    assert engine.workers()[0].pid != stopped


def test_only_a_caretaker_takes_over_jobs_of_other_machines(site: Site) -> None:
    """A supervisor without HTTP leaves them alone, so that a thousand of them do not all look at a thousand leases."""
    job = site.submit()
    assert site.store.claim_next("a worker of a machine that is gone", timedelta(seconds=1)) is not None
    engine = site.start(lease_seconds=1.0, caretaker=False)
    time.sleep(3)
    assert (site.store.get(job.id).status, site.store.get(job.id).fence) == (JobStatus.RUNNING, 1)
    caretaker = Supervisor(replace(site.config, devices=(), lease_seconds=1.0), site.store, site.storage)
    site.engines.append(caretaker)
    caretaker.start()
    done = site.finished(job)
    assert (done.status, done.fence, done.deaths) == (JobStatus.SUCCEEDED, 2, 0)
    assert done.worker == engine.workers()[0].name


def test_a_slow_frame_loses_no_lease(site: Site) -> None:
    """A worker renews its lease while a single frame takes longer than the lease."""
    engine = site.start(lease_seconds=LEASE)
    behave(site.home, seconds=1.5 * LEASE)
    done = site.finished(site.submit(engine, end=2))
    assert (done.status, done.attempts, done.fence) == (JobStatus.SUCCEEDED, 1, 1)


def _send(number: signal.Signals, *pids: int) -> None:
    for pid in pids:
        os.kill(pid, number)


def _stop_between_changes(site: Site, *pids: int) -> None:
    """Stop processes while none of them holds the lock of the SQLite file, which would stop everybody else too."""
    _send(signal.SIGSTOP, *pids)
    while _is_locked(site):
        _send(signal.SIGCONT, *pids)
        time.sleep(0.05)
        _send(signal.SIGSTOP, *pids)


def _stop_in_a_change(site: Site, pid: int) -> None:
    """Stop a process while it holds the lock of the SQLite file."""

    def stopped() -> bool:
        _send(signal.SIGCONT, pid)
        time.sleep(0.003)
        _send(signal.SIGSTOP, pid)
        return _is_locked(site)

    wait_for(stopped)


def _is_locked(site: Site) -> bool:
    """Return whether nobody else can change the database."""
    try:
        with closing(sqlite3.connect(site.root / "jobs.db", timeout=0.3)) as database:
            database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    return False


def _files_that_count(site: Site, job: Job) -> dict[str, bytes]:
    """Return name and content of a job's files, of its mask log what the row lists."""
    logs = {site.files(job).mask_log(fence).name for fence in range(job.fence + 1)}
    others = (path for path in site.files(job).folder.iterdir() if path.is_file() and path.name not in logs)
    return {"masks": site.masks(job)} | {path.name: path.read_bytes() for path in others}
