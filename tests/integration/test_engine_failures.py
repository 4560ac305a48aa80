"""The supervisor with real worker processes: workers that die or hang, and jobs that fail."""

from __future__ import annotations

import errno
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import pytest
from pydantic import ByteSize

from service.config import Settings
from service.engine.supervisor import Supervisor
from service.jobs.types import JobStatus
from service.runtime.processes import SPAWN
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave, has_faulted
from tests.support.media import broken
from tests.support.waiting import wait_for


@pytest.mark.parametrize(
    "kind",
    ["kill", "segfault", pytest.param("abort", marks=pytest.mark.long), pytest.param("exit", marks=pytest.mark.long)],
)
def test_a_dead_worker_is_replaced_and_its_job_resumes(site: Site, kind: str) -> None:
    """However the worker dies, its job resumes from the stored masks in a new process, with the same result."""
    engine = site.start()
    expected = site.expected(engine)
    behave(site.home, fault={"at": 12, "kind": kind})
    first = engine.workers()[0].pid
    job = site.submit(engine)
    done = site.finished(job)
    assert (done.status, done.deaths, done.attempts) == (JobStatus.SUCCEEDED, 1, 2)
    assert site.masks(job) == expected
    assert done.report is not None
    assert done.report["resumed"]
    assert done.report["frames"] == FRAMES
    assert engine.workers()[0].pid != first
    totals = wait_for(lambda: (t := engine.totals()).resumed_jobs and t)
    assert totals.worker_restarts == 1
    wait_for(site.is_tidy)


def test_a_hanging_worker_is_killed(site: Site) -> None:
    """A worker without progress for `stall_seconds` is killed, and its job resumes."""
    engine = site.start()
    behave(site.home, fault={"at": 6, "kind": "hang"})
    first = engine.workers()[0].pid
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) == 6)
    wait_for(lambda: has_faulted(site.home))
    # The limit is short only while this worker hangs, because a busy machine may delay the next worker for longer.
    config = engine._config
    engine._config = replace(config, stall_seconds=1.0)
    wait_for(lambda: engine.workers()[0].pid != first)
    engine._config = config
    done = site.finished(job)
    assert (done.status, done.deaths) == (JobStatus.SUCCEEDED, 1)


def test_a_file_that_kills_every_worker_fails_only_its_own_job(site: Site) -> None:
    """The second death fails the job with `worker-died`; the next job runs."""
    engine = site.start()
    behave(site.home, fault={"at": 3, "kind": "segfault", "times": 2})
    job, following = site.submit(engine), site.submit(engine)
    failed = site.finished(job)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.type == "worker-died"
    assert site.finished(following).status is JobStatus.SUCCEEDED
    assert site.lines(job) == 3


@pytest.mark.parametrize("kind", [pytest.param("memory", marks=pytest.mark.long), "defect"])
def test_a_defect_is_retried_by_another_worker(site: Site, kind: str) -> None:
    """An error that the request did not cause counts as a death of the worker; the job resumes with the same result."""
    engine = site.start()
    expected = site.expected(engine)
    behave(site.home, fault={"at": 12, "kind": kind})
    first = engine.workers()[0].pid
    job = site.submit(engine)
    done = site.finished(job)
    assert (done.status, done.deaths, done.attempts) == (JobStatus.SUCCEEDED, 1, 2)
    assert site.masks(job) == expected
    assert done.report is not None
    assert done.report["resumed"]
    assert engine.workers()[0].pid != first
    wait_for(site.is_tidy)


@pytest.mark.parametrize(
    ("kind", "problem", "detail", "deaths"),
    [
        ("memory", "run-failed", "needs more memory", 2),
        ("disk", "storage-full", "disk became full", 0),
        ("defect", "internal-error", "went wrong in the service", 2),
    ],
)
def test_an_error_in_a_job_reaches_the_client_in_one_line(
    site: Site, kind: str, problem: str, detail: str, deaths: int
) -> None:
    """The client sees the type of the problem but no path and no name of an exception; the next job runs."""
    engine = site.start()
    behave(site.home, fault={"at": 4, "kind": kind, "times": max(1, deaths)})
    job, following = site.submit(engine), site.submit(engine)
    failed = site.finished(job)
    assert failed.error is not None
    assert failed.error.type == problem
    assert detail in failed.error.detail
    assert "/" not in failed.error.detail
    assert failed.deaths == deaths
    assert site.finished(following).status is JobStatus.SUCCEEDED
    wait_for(site.is_tidy)


@pytest.mark.parametrize(("video", "problem"), [(b"no video at all", "video-unreadable"), (b"", "video-unreadable")])
def test_an_unreadable_video_fails_its_job(site: Site, video: bytes, problem: str) -> None:
    """If the worker cannot read a file that passed inspection, the job fails with the reason and without a path."""
    engine = site.start()
    failed = site.finished(site.submit(engine, video=video))
    assert failed.error is not None
    assert failed.error.type == problem
    assert str(site.root) not in failed.error.detail


def test_a_job_without_any_frame_fails(site: Site) -> None:
    """A prompt frame beyond the end of the video is an error, not an empty success."""
    engine = site.start()
    failed = site.finished(site.submit(engine, prompt_frame=FRAMES + 5))
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.type == "invalid-options"
    assert failed.error.detail == f"the prompt frame is {FRAMES + 5}; the video has {FRAMES} frames, 0 to {FRAMES - 1}"


def test_a_job_fails_at_the_limit_of_frames(site: Site) -> None:
    """The worker enforces the limit that the upload could not check; the masks written before stay."""
    engine = site.start(settings=Settings(home=site.home, max_frames=FRAMES - 10))
    failed = site.finished(site.submit(engine, frames=5))
    assert failed.error is not None
    assert failed.error.type == "too-many-frames"
    assert str(FRAMES - 10) in failed.error.detail
    assert site.lines(failed) == FRAMES - 10


def test_a_job_fails_at_the_limit_of_its_masks(site: Site) -> None:
    """Masks beyond the limit of bytes end the job with a problem of their own; the masks written before stay."""
    engine = site.start()
    size = len(site.expected(engine)) // 2
    engine.stop()
    engine = site.start(settings=Settings(home=site.home, max_mask_log_bytes=ByteSize(size)))
    failed = site.finished(site.submit(engine))
    assert failed.error is not None
    assert (failed.error.type, failed.deaths, failed.attempts) == ("masks-too-large", 0, 1)
    assert f"{size:,}" in failed.error.detail
    assert 1 < site.lines(failed) < FRAMES
    assert size < len(site.masks(failed)) < size + 1000


def test_a_damaged_video_keeps_the_masks_before_the_damage(site: Site) -> None:
    """Damage found while decoding fails the job; the error states after how many frames, and no mask is lost."""
    engine = site.start()
    failed = site.finished(site.submit(engine, video=broken(site.clip, 12)))
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.type == "video-truncated"
    assert "12 frames" in failed.error.detail
    assert site.lines(failed) == 12


def test_starting_a_process_is_retried(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system cannot start a process, engine and job survive, and failed attempts leave no pipe open."""
    pipes: list[Connection] = []
    can_start = threading.Event()
    make_pipe, start = SPAWN.Pipe, SpawnProcess.start

    def recorded_pipe() -> tuple[Connection, Connection]:
        pipes.extend(ends := make_pipe())
        return ends

    def failing_start(process: SpawnProcess) -> None:
        if not can_start.is_set():
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        start(process)

    monkeypatch.setattr(SPAWN, "Pipe", recorded_pipe)
    monkeypatch.setattr(SpawnProcess, "start", failing_start)
    engine = Supervisor(site.config, site.store, site.storage)
    site.engines.append(engine)
    job = site.submit()
    engine.start()
    failure = wait_for(lambda: engine.workers()[0].failure)
    assert failure == "a worker process cannot be started: Resource temporarily unavailable"
    wait_for(lambda: len(pipes) >= 4)
    can_start.set()
    assert site.finished(job).status is JobStatus.SUCCEEDED
    assert engine.workers()[0].failure is None
    engine.stop()
    assert all(end.closed for end in pipes)


def test_loading_the_network_is_retried(site: Site) -> None:
    """Without weights the engine reports the failure; once they exist, it becomes ready and queued jobs run."""
    site.home.mkdir()
    (site.home / "no-weights").touch()
    engine = Supervisor(site.config, site.store, site.storage)
    site.engines.append(engine)
    engine.start()
    job = site.submit(engine)
    assert wait_for(lambda: engine.workers()[0].failure) == "the weights are missing"
    assert not engine.ready
    (site.home / "no-weights").unlink()
    assert site.finished(job).status is JobStatus.SUCCEEDED
    assert engine.workers()[0].failure is None
