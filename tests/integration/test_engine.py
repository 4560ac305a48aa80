"""The local engine with real worker processes: what it does when all goes well, and when processes die."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import pytest

from service.config import Settings
from service.engine.supervisor import Supervisor
from service.engine.types import WorkerState
from service.jobs.types import JobStatus
from service.processes import SPAWN
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave
from tests.support.media import broken
from tests.support.waiting import wait_for


def owned_only(site: Site) -> bool:
    """Whether every folder of a job has a row, no upload is left, and no job keeps a state or a half file."""
    ids = site.storage.job_ids()
    leftovers = [p for p in (site.root / "files").rglob("*") if p.suffix == ".part" or p.name == "state.npz"]
    uploads = list((site.root / "files" / "incoming").glob("*/*"))
    return site.store.known(ids) == set(ids) and not leftovers and not uploads


def test_a_job_runs_from_queue_to_success(site: Site) -> None:
    """Masks, report, progress, times and counters of a job that nothing disturbs."""
    engine = site.start()
    job = site.submit(engine)
    done = site.finished(job)
    assert done.status is JobStatus.SUCCEEDED
    lines = [json.loads(line) for line in site.files(job).mask_log.read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(FRAMES))
    assert (done.progress.done, done.progress.total, done.progress.stage) == (FRAMES, FRAMES, "finished")
    assert done.progress.fps
    assert done.report == json.loads(site.files(job).report.read_text())
    assert done.report["sources"] == {"prompt": 1, "key": FRAMES - 1, "propagated": 0, "fallback": 0}
    assert done.created_at <= done.started_at <= done.finished_at < done.expires_at
    totals = wait_for(lambda: (t := engine.totals()).jobs.get("succeeded") and t)
    assert totals.frames == {"prompt": 1, "key": FRAMES - 1}
    assert totals.seconds["decode"] == pytest.approx(0.25 * FRAMES)
    assert (totals.worker_restarts, totals.resumed_jobs) == (0, 0)
    assert owned_only(site)


def test_ends_are_told(site: Site) -> None:
    """Who listens is called with each job that ends, by itself or with its worker, once the store says so too."""
    told: list[tuple[str, JobStatus]] = []
    engine = site.start(cancel_seconds=1.0)
    engine.listen(lambda job_id: told.append((job_id, site.store.get(job_id).status)))
    done = site.finished(site.submit(engine))
    behave(site.home, trouble={"at": 5, "kind": "hang"})
    canceled = site.submit(engine)
    wait_for(lambda: site.lines(canceled) == 5)
    site.store.request_cancel(canceled.id)
    wait_for(lambda: len(told) == 2)
    assert told == [(done.id, JobStatus.SUCCEEDED), (canceled.id, JobStatus.CANCELED)]


def test_the_first_mask_does_not_wait_for_a_state(site: Site) -> None:
    """The first state is stored as long after the first mask as any other after the one before, or at the stop."""
    engine = site.start(state_seconds=3600.0)
    behave(site.home, seconds=0.3)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 3)
    assert not site.files(job).state.exists()
    engine.stop()
    assert site.files(job).state.exists()


def test_the_network_is_loaded_once_and_one_worker_takes_job_after_job(site: Site) -> None:
    """The process that ran the first job runs the second."""
    engine = site.start()
    before = engine.workers()[0]
    for _ in range(2):
        assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED
    (worker,) = engine.workers()
    assert (worker.pid, worker.name) == (before.pid, before.name)
    assert worker.model == {"name": "compact", "device": "none"}
    wait_for(lambda: engine.workers()[0].state is WorkerState.IDLE)


def test_the_engines_process_imports_no_torch(site: Site) -> None:
    """Only workers need it."""
    code = "import sys, service.engine.supervisor; sys.exit('torch' in sys.modules)"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0


@pytest.mark.parametrize("kind", ["kill", "segfault", "abort", "exit"])
def test_a_worker_that_dies_is_replaced_and_its_job_goes_on(site: Site, kind: str) -> None:
    """However it dies in mid-job, the job goes on from its masks in another process, to the same result."""
    engine = site.start()
    expected = site.expected(engine)
    behave(site.home, trouble={"at": 12, "kind": kind})
    first = engine.workers()[0].pid
    job = site.submit(engine)
    done = site.finished(job)
    assert (done.status, done.deaths, done.attempts) == (JobStatus.SUCCEEDED, 1, 2)
    assert site.files(job).mask_log.read_bytes() == expected
    assert done.report is not None
    assert done.report["resumed"]
    assert done.report["frames"] == FRAMES
    assert engine.workers()[0].pid != first
    totals = wait_for(lambda: (t := engine.totals()).resumed_jobs and t)
    assert totals.worker_restarts == 1
    assert owned_only(site)


def test_a_file_that_kills_every_worker_fails_its_own_job_only(site: Site) -> None:
    """After the second death the job has failed and says so; the next job runs."""
    engine = site.start()
    behave(site.home, trouble={"at": 3, "kind": "segfault", "times": 2})
    job, following = site.submit(engine), site.submit(engine)
    failed = site.finished(job)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.type == "worker-died"
    assert site.finished(following).status is JobStatus.SUCCEEDED
    assert site.lines(job) == 3


@pytest.mark.parametrize(
    ("kind", "problem", "detail"),
    [
        ("memory", "run-failed", "needs more memory"),
        ("disk", "storage-full", "disk became full"),
        ("defect", "internal-error", "went wrong in the service"),
    ],
)
def test_an_error_in_mid_job_fails_it_without_a_traceback(site: Site, kind: str, problem: str, detail: str) -> None:
    """The client learns the kind of problem in one line, no path and no exception's name; the next job runs."""
    engine = site.start()
    behave(site.home, trouble={"at": 4, "kind": kind})
    job, following = site.submit(engine), site.submit(engine)
    failed = site.finished(job)
    assert failed.error is not None
    assert failed.error.type == problem
    assert detail in failed.error.detail
    assert "/" not in failed.error.detail
    assert site.finished(following).status is JobStatus.SUCCEEDED
    assert owned_only(site)


@pytest.mark.parametrize(("video", "problem"), [(b"no video at all", "video-unreadable"), (b"", "video-unreadable")])
def test_a_video_that_cannot_be_read_fails_by_its_own_name(site: Site, video: bytes, problem: str) -> None:
    """The API has looked at the file before; if it still cannot be read, the job says why and names no path."""
    engine = site.start()
    failed = site.finished(site.submit(engine, video=video))
    assert failed.error is not None
    assert failed.error.type == problem
    assert str(site.root) not in failed.error.detail


def test_a_job_without_a_single_frame_fails(site: Site) -> None:
    """A prompt's frame that the video turns out not to have ends in an error, not in an empty success."""
    engine = site.start()
    failed = site.finished(site.submit(engine, prompt_frame=FRAMES + 5))
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.type == "run-failed"


@pytest.mark.parametrize("believed", [FRAMES - 20, FRAMES + 20])
def test_the_frames_of_a_long_video_are_known_in_the_end(site: Site, believed: int) -> None:
    """Where the number of frames was an estimate, a finished job has the right one, and no progress is beyond it."""
    behave(site.home, seconds=0.02)
    engine = site.start()
    job = site.submit(engine, frames=believed)
    seen = wait_for(lambda: (now := site.store.get(job.id)).progress.done > FRAMES - 15 and now)
    assert seen.progress.done <= seen.progress.total
    done = site.finished(job)
    assert done.video.frames == done.progress.total == done.progress.done == FRAMES


def test_a_video_that_turns_out_too_long_ends_at_the_limit(site: Site) -> None:
    """What the upload could not see is refused by the job, with the limit's own kind; its masks so far stay."""
    engine = site.start(settings=Settings(home=site.home, max_frames=FRAMES - 10))
    failed = site.finished(site.submit(engine, frames=5))
    assert failed.error is not None
    assert failed.error.type == "too-many-frames"
    assert str(FRAMES - 10) in failed.error.detail
    assert site.lines(failed) == FRAMES - 10


def test_a_video_that_breaks_in_the_middle_keeps_what_came_before(site: Site) -> None:
    """Damage that only decoding shows fails the job by its own kind, says after how many frames, and loses no mask."""
    engine = site.start()
    failed = site.finished(site.submit(engine, video=broken(site.clip, 12)))
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.type == "video-truncated"
    assert "12 frames" in failed.error.detail
    assert site.lines(failed) == 12


def test_a_hanging_worker_is_killed(site: Site) -> None:
    """Without progress for the allowed time, a worker counts as dead."""
    engine = site.start()
    behave(site.home, trouble={"at": 6, "kind": "hang"})
    first = engine.workers()[0].pid
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) == 6)
    # Short only while this worker hangs: the next one may be held up by the machine for longer and must not be killed.
    patient = engine._config
    engine._config = replace(patient, stall_seconds=1.0)
    wait_for(lambda: engine.workers()[0].pid != first)
    engine._config = patient
    done = site.finished(job)
    assert (done.status, done.deaths) == (JobStatus.SUCCEEDED, 1)


class TestCancel:
    """Cancel and delete, at every state."""

    def test_a_waiting_job_never_runs(self, site: Site) -> None:
        """It is canceled at once; no worker takes it."""
        job = site.submit()
        assert site.store.request_cancel(job.id).status is JobStatus.CANCELED
        engine = site.start()
        assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED
        assert site.lines(job) == 0

    def test_a_running_job_stops_and_keeps_its_masks(self, site: Site) -> None:
        """It stops between two masks; the worker goes on with the next job."""
        behave(site.home, seconds=0.5)
        engine = site.start()
        job = site.submit(engine)
        wait_for(lambda: site.lines(job) >= 3)
        site.store.request_cancel(job.id)
        pid = engine.workers()[0].pid
        assert site.finished(job).status is JobStatus.CANCELED
        assert 3 <= site.lines(job) < FRAMES
        behave(site.home)
        assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED
        assert engine.workers()[0].pid == pid
        assert owned_only(site)

    def test_a_finished_job_stays_what_it_is(self, site: Site) -> None:
        """Its masks stay too."""
        engine = site.start()
        done = site.finished(site.submit(engine))
        assert site.store.request_cancel(done.id) == done
        assert site.lines(done) == FRAMES

    def test_a_worker_that_does_not_listen_is_killed(self, site: Site) -> None:
        """A cancel works although the worker hangs, as in a decoder that never returns; the job is not run again."""
        engine = site.start(cancel_seconds=1.0)
        behave(site.home, trouble={"at": 5, "kind": "hang"})
        job = site.submit(engine)
        wait_for(lambda: site.lines(job) == 5)
        site.store.request_cancel(job.id)
        assert site.finished(job).status is JobStatus.CANCELED
        assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED

    @pytest.mark.parametrize("state", ["queued", "running", "finished"])
    def test_delete_leaves_no_file_and_no_row(self, site: Site, state: str) -> None:
        """Whatever the job is doing, soon nothing of it is left."""
        behave(site.home, seconds=0.05)
        engine = site.start()
        if state == "queued":
            site.submit(engine)
        job = site.submit(engine)
        if state == "running":
            wait_for(lambda: site.lines(job) >= 2)
        elif state == "finished":
            site.finished(job)
        site.store.request_delete(job.id)
        engine.wake()
        wait_for(lambda: not site.store.known([job.id]))
        assert not site.files(job).folder.exists()


class TestStop:
    """Orderly shutdown, and what comes after it."""

    def test_a_stopped_job_waits_and_goes_on_after_the_restart(self, site: Site) -> None:
        """It is given back at a safe point; another engine finishes it, to the result of an uninterrupted run."""
        engine = site.start()
        expected = site.expected(engine)
        behave(site.home, seconds=0.4)
        job = site.submit(engine)
        wait_for(lambda: site.lines(job) >= 5)
        engine.stop()
        waiting = site.store.get(job.id)
        assert (waiting.status, waiting.worker, waiting.attempts) == (JobStatus.QUEUED, None, 0)
        begun = site.lines(job)
        assert 5 <= begun < FRAMES
        before = site.files(job).mask_log.read_bytes()
        behave(site.home)
        site.start()
        done = site.finished(job)
        assert done.status is JobStatus.SUCCEEDED
        assert done.report is not None
        assert done.report["resumed"]
        assert site.files(job).mask_log.read_bytes() == expected
        assert expected.startswith(before)

    def test_no_process_is_left(self, site: Site) -> None:
        """After stop the worker's process is gone, and stopping again does nothing."""
        engine = site.start()
        pid = engine.workers()[0].pid
        assert pid is not None
        engine.stop()
        engine.stop()
        engine.wake()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_a_worker_that_does_not_end_in_time_is_killed(self, site: Site) -> None:
        """Its job waits again and is run by the next engine."""
        engine = site.start(grace_seconds=0.5)
        behave(site.home, trouble={"at": 5, "kind": "hang"})
        job = site.submit(engine)
        wait_for(lambda: site.lines(job) == 5)
        engine.stop()
        assert site.store.get(job.id).status is JobStatus.QUEUED
        site.start()
        assert site.finished(job).status is JobStatus.SUCCEEDED


class TestHousekeeping:
    """What has had its time goes."""

    def test_an_expired_job_is_removed_with_its_files(self, site: Site) -> None:
        """Soon after its retention a finished job is gone."""
        site.store.retention = timedelta(seconds=0.5)
        engine = site.start()
        job = site.submit(engine)
        wait_for(lambda: not site.store.known([job.id]))
        assert not site.files(job).folder.exists()

    def test_files_without_a_job_are_swept_at_the_start(self, site: Site) -> None:
        """A folder whose job was never created, as after a crash between the two steps, is removed."""
        with site.storage.upload() as upload:
            upload.video.write_bytes(b"x")
            orphan = site.storage.adopt(upload, "0" * 32)
        site.start()
        assert not orphan.folder.exists()

    def test_files_whose_job_is_being_created_stay(self, site: Site) -> None:
        """While the engine runs, a young folder without a job is left alone."""
        engine = site.start()
        with site.storage.upload() as upload:
            upload.video.write_bytes(b"x")
            young = site.storage.adopt(upload, "0" * 32)
        time.sleep(1.2)
        assert young.folder.exists()
        assert engine.ready


def test_a_process_that_cannot_be_started_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has no process to give ends neither the engine nor the job, and no pipe is left of the tries."""
    pipes: list[Connection] = []
    has_processes = threading.Event()
    make_pipe, start = SPAWN.Pipe, SpawnProcess.start

    def noted_pipe() -> tuple[Connection, Connection]:
        pipes.extend(ends := make_pipe())
        return ends

    def reluctant(process: SpawnProcess) -> None:
        if not has_processes.is_set():
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        start(process)

    monkeypatch.setattr(SPAWN, "Pipe", noted_pipe)
    monkeypatch.setattr(SpawnProcess, "start", reluctant)
    engine = Supervisor(site.config, site.store, site.storage)
    site.engines.append(engine)
    job = site.submit()
    engine.start()
    failure = wait_for(lambda: engine.workers()[0].failure)
    assert failure == "a worker process cannot be started: Resource temporarily unavailable"
    wait_for(lambda: len(pipes) >= 4)
    has_processes.set()
    assert site.finished(job).status is JobStatus.SUCCEEDED
    assert engine.workers()[0].failure is None
    engine.stop()
    assert all(end.closed for end in pipes)


def test_a_network_that_cannot_be_loaded_is_tried_again(site: Site) -> None:
    """The engine is not ready and says why; once the weights are there, it is, and waiting jobs run."""
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
