"""Expiry of jobs while the wall clock jumps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.engine.upkeep.housekeeper import Housekeeper
from service.engine.upkeep.wall_clock import SettledClock
from service.jobs.store import JobStore
from service.jobs.types import Job, JobStatus, JobVideo, new_job_id
from service.run.options import JobOptions
from service.storage.job_files import Storage

RETENTION = timedelta(hours=1)
YEAR = 365 * 86400.0


class Machine:
    """A housekeeper on a machine whose clocks a test moves."""

    def __init__(self, store: JobStore, folder: Path) -> None:
        self.store = store
        self.elapsed = 0.0
        self.jump = 0.0
        self._began = datetime.now(UTC).timestamp()
        clock = SettledClock(RETENTION.total_seconds, monotonic=lambda: self.elapsed, wall=lambda: self.wall)
        self._housekeeper = Housekeeper(store, Storage(folder), clock)

    @property
    def wall(self) -> float:
        """Seconds since 1970 by the wall clock."""
        return self._began + self.elapsed + self.jump

    def finished_job(self) -> Job:
        """Return a job that ends now by the wall clock."""
        now = datetime.fromtimestamp(self.wall, UTC)
        video = JobVideo("h264", 64, 48, 25.0, 12, 0.48, 0)
        status, expires = JobStatus.SUCCEEDED, now + RETENTION
        job = Job(new_job_id(), JobOptions(), video, "0" * 64, now, status, finished_at=now, expires_at=expires)
        return self.store.create(job)[0]

    def minutes_until_removed(self, job: Job) -> int:
        """Clean up every minute until the job is removed; return how long that took."""
        for minute in range(1000):
            self._housekeeper.expire()
            if job.id in self.store.pending_deletion():
                return minute
            self.elapsed += 60
        raise AssertionError("the job was kept")

    def clean_up(self) -> int:
        """Clean up once."""
        return self._housekeeper.expire()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with an empty store."""
    store = JobStore("sqlite://", retention=RETENTION)
    yield Machine(store, tmp_path)
    store.close()


def test_a_job_is_removed_after_its_retention(machine: Machine) -> None:
    """With an even clock that is when `expires_at` says."""
    assert machine.minutes_until_removed(machine.finished_job()) == 60


@pytest.mark.parametrize("jump", [YEAR, -YEAR, 7200.0])
def test_a_jump_removes_no_job_early_and_keeps_none_for_ever(machine: Machine, jump: float) -> None:
    """A job is kept for one retention at least and three at most, whichever way the clock jumped."""
    job = machine.finished_job()
    assert machine.clean_up() == 0
    machine.jump = jump
    assert 60 <= machine.minutes_until_removed(job) <= 180


def test_a_clock_that_is_put_right_removes_nothing_early(machine: Machine) -> None:
    """A forward jump that is corrected a minute later changes nothing for the jobs that ended in between."""
    machine.jump = YEAR
    machine.clean_up()
    job = machine.finished_job()
    machine.elapsed += 60
    machine.jump = 0.0
    assert machine.clean_up() == 0
    assert 59 <= machine.minutes_until_removed(job) <= 180


def test_a_small_correction_is_no_jump(machine: Machine) -> None:
    """Clocks are adjusted by seconds all the time."""
    job = machine.finished_job()
    machine.clean_up()
    machine.jump = 20.0
    assert machine.minutes_until_removed(job) == 60
