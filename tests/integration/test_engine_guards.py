"""Unforeseen exceptions in the engine's thread, and what readiness says of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from service.engine import supervisor as supervisor_module
from service.engine.lease import LeaseWatch
from service.engine.supervisor import Supervisor
from service.engine.upkeep import housekeeping as housekeeping_module
from service.engine.upkeep import presence as presence_module
from service.engine.upkeep.housekeeper import Housekeeper
from service.engine.worker_process import WorkerProcess
from service.jobs.store import JobStore
from service.jobs.types import Claim, JobStatus
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave
from tests.support.waiting import wait_for

STEPS: tuple[tuple[type, str], ...] = (
    (Supervisor, "_wait_for_handles"),
    (Supervisor, "_tick"),
    (Supervisor, "_observe"),
    (Supervisor, "_receive"),
    (Supervisor, "_reap"),
    (Supervisor, "_kill_if_hung"),
    (Supervisor, "_add_cuda_workers"),
    (Supervisor, "_release"),
    (WorkerProcess, "start_if_due"),
    (WorkerProcess, "receive"),
    (WorkerProcess, "reap"),
    (Housekeeper, "remove_deleted"),
    (Housekeeper, "expire"),
    (Housekeeper, "sweep"),
    (JobStore, "release"),
)


class DefectError(Exception):
    """A defect that nobody foresaw."""


def _break(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, times: int) -> Callable[[], int]:
    """Let the first calls of a method raise an exception; return a function that counts the exceptions."""
    method, left = getattr(owner, name), [times]

    def broken(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise DefectError(name)
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, broken)
    return lambda: times - left[0]


def test_jobs_end_though_every_step_fails_now_and_then(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each step of the engine raises an exception twice, and a worker dies: jobs end all the same.

    The log has each defect once with its traceback, however often it occurs.
    """
    raised = {name: _break(monkeypatch, owner, name, 2) for owner, name in STEPS}
    engine = Supervisor(site.config, site.store, site.storage)
    site.engines.append(engine)
    notified: list[str] = []

    def listener(job_id: str) -> None:
        notified.append(job_id)
        raise DefectError("listener")

    engine.listen(listener)
    behave(site.home, fault={"at": 12, "kind": "kill"})
    with caplog.at_level(logging.WARNING):
        engine.start()
        job, following = site.submit(engine), site.submit(engine)
        assert site.finished(job).status is JobStatus.SUCCEEDED
        assert site.finished(following).status is JobStatus.SUCCEEDED
        wait_for(lambda: following.id in notified)
        wait_for(lambda: all(count() == 2 for count in raised.values()))
    assert site.lines(following) == FRAMES
    assert engine.ready
    records = [r for r in caplog.records if r.message == "step failed" and r.exc_info is not None]
    logged = [r.step for r in records]  # type: ignore[attr-defined]
    assert {"wait", "tick", "receive", "reap", "release", "listener", "start", "sweep", "add"} <= set(logged)
    assert len(logged) == len(set(logged))


@pytest.mark.parametrize("name", ["_wait_for_handles", "_observe", "_add_cuda_workers"])
def test_a_step_that_always_fails_costs_no_processor(site: Site, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The thread goes on at its usual pace, and ends when it is stopped."""
    engine = Supervisor(replace(site.config, devices=()), site.store, site.storage)
    raised = _break(monkeypatch, Supervisor, name, 1 << 30)
    monkeypatch.setattr(engine, "_workers", [WorkerProcess("cpu", site.config, site.store, site.storage)])
    monkeypatch.setattr(WorkerProcess, "start_if_due", lambda _self: None)
    engine.start()
    wait_for(lambda: raised() >= 2)
    began, before = time.monotonic(), raised()
    time.sleep(1.5)
    assert raised() - before <= 2 + (time.monotonic() - began) / 0.4
    engine.stop()


class TestReadiness:
    """Whether the engine says that jobs can run."""

    def test_without_a_thread_it_is_not_ready(self, site: Site) -> None:
        """Before the start and after the stop, the reason is the thread."""
        engine = Supervisor(replace(site.config, devices=()), site.store, site.storage)
        assert "thread" in str(engine.unready_reason())
        engine.start()
        assert "thread" not in str(engine.unready_reason())
        engine.stop()
        assert "thread" in str(engine.unready_reason())

    def test_a_thread_that_hangs_is_noticed(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """The thread lives but has not ticked for a while; once it ticks again, the engine is ready."""
        hangs = threading.Event()
        go_on = threading.Event()
        expired = LeaseWatch.expired

        def hanging(leases: LeaseWatch) -> list[Claim]:
            if hangs.is_set():
                go_on.wait(60)
            return expired(leases)

        monkeypatch.setattr(LeaseWatch, "expired", hanging)
        monkeypatch.setattr(supervisor_module, "_SILENT_SECONDS", 1.5)
        engine = Supervisor(replace(site.config, devices=()), site.store, site.storage)
        site.engines.append(engine)
        engine.start()
        assert "thread" not in str(engine.unready_reason())
        hangs.set()
        engine.wake()
        wait_for(lambda: "thread" in str(engine.unready_reason()), 10)
        hangs.clear()
        go_on.set()
        wait_for(lambda: "thread" not in str(engine.unready_reason()), 10)

    def test_an_engine_without_workers_waits_for_those_of_others(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It says what it waits for until a process with a ready worker shows up, and again once that has stopped."""
        monkeypatch.setattr(presence_module, "ABSENCE_SECONDS", 3.0)
        monkeypatch.setattr(housekeeping_module, "PRESENCE_SECONDS", 0.5)
        site.store.announce_worker("one that died", "long ago")
        alone = Supervisor(replace(site.config, devices=()), site.store, site.storage)
        site.engines.append(alone)
        alone.start()
        time.sleep(2)
        assert "keymask worker" in str(alone.unready_reason())
        other = site.start()
        wait_for(partial(getattr, alone, "ready"), 10)
        other.stop()
        wait_for(lambda: "keymask worker" in str(alone.unready_reason()), 10)
        assert set(site.store.announced_workers()) == {"one that died"}
