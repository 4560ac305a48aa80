"""The supervisor with real worker processes: jobs that run without a failure."""

from __future__ import annotations

import json
import os
import sys

import pytest

from service.engine.types import WorkerState
from service.jobs.types import JobStatus
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave, has_faulted
from tests.support.waiting import wait_for


def test_a_job_runs_from_queue_to_success(site: Site) -> None:
    """An undisturbed job gets its masks, report, progress and times, and updates the counters."""
    engine = site.start()
    job = site.submit(engine)
    done = site.finished(job)
    assert done.status is JobStatus.SUCCEEDED
    lines = [json.loads(line) for line in site.masks(job).decode().splitlines()]
    assert [line["index"] for line in lines] == list(range(FRAMES))
    assert (done.progress.done, done.progress.total, done.progress.stage) == (FRAMES, FRAMES, "finished")
    assert done.progress.fps
    assert done.report == json.loads(site.files(job).report(1).read_text())
    assert done.report["sources"] == {"prompt": 1, "corrected": 0, "key": FRAMES - 1, "propagated": 0, "fallback": 0}
    written_to_files = {"keymask", "complete", "error", "video", "model", "options", "frames_written", "sources"}
    written_to_files |= {
        "key_share",
        "network_runs",
        "network_runs_saved",
        "fps",
        "seconds",
        "resumed",
        "outputs",
        "notes",
    }
    written_to_files |= {"frames_segmented", "fingerprint", "written", "prompt", "needs_review"}
    assert set(done.report) == written_to_files | {"codec", "frames"}
    assert done.report["frames"] == done.report["frames_written"] == FRAMES
    assert done.created_at <= done.started_at <= done.finished_at < done.expires_at
    totals = wait_for(lambda: (t := engine.totals()).jobs.get("succeeded") and t)
    assert totals.frames == {"prompt": 1, "key": FRAMES - 1}
    assert totals.seconds["decode"] == pytest.approx(0.25 * FRAMES)
    assert (totals.worker_restarts, totals.resumed_jobs) == (0, 0)
    wait_for(site.is_tidy)


def test_the_listener_learns_of_every_end(site: Site) -> None:
    """The listener is called with each job that ends, by itself or with its worker, after the store has changed."""
    ended: list[tuple[str, JobStatus]] = []
    engine = site.start(cancel_seconds=1.0)
    engine.listen(lambda job_id: ended.append((job_id, site.store.get(job_id).status)))
    done = site.finished(site.submit(engine))
    behave(site.home, fault={"at": 5, "kind": "hang"})
    canceled = site.submit(engine)
    wait_for(lambda: site.lines(canceled) == 5)
    wait_for(lambda: has_faulted(site.home))
    site.store.request_cancel(canceled.id)
    wait_for(lambda: len(ended) == 2)
    assert ended == [(done.id, JobStatus.SUCCEEDED), (canceled.id, JobStatus.CANCELED)]


def test_the_first_mask_does_not_wait_for_a_state(site: Site) -> None:
    """The first resume state is saved `state_seconds` after the first mask, or when the engine stops."""
    engine = site.start(state_seconds=3600.0)
    behave(site.home, seconds=0.3)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 3)
    assert not site.files(job).state(1).exists()
    engine.stop()
    assert site.files(job).state(1).exists()


def test_one_worker_loads_its_network_once_and_runs_all_jobs(site: Site) -> None:
    """The process that ran the first job also runs the second."""
    engine = site.start()
    before = engine.workers()[0]
    for _ in range(2):
        assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED
    (worker,) = engine.workers()
    assert (worker.pid, worker.name) == (before.pid, before.name)
    assert worker.model == {"name": "compact", "device": "none"}
    wait_for(lambda: engine.workers()[0].state is WorkerState.IDLE)


def test_the_supervisor_imports_no_torch(site: Site) -> None:
    """Only workers import torch."""
    code = "import sys, service.engine.supervisor; sys.exit('torch' in sys.modules)"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0


@pytest.mark.parametrize("estimate", [FRAMES - 20, FRAMES + 20])
def test_a_finished_job_knows_the_number_of_frames(site: Site, estimate: int) -> None:
    """A finished job replaces an estimated number of frames, and `done` never exceeds `total`."""
    behave(site.home, seconds=0.02)
    engine = site.start()
    job = site.submit(engine, frames=estimate)
    running = wait_for(lambda: (now := site.store.get(job.id)).progress.done > FRAMES - 15 and now)
    assert running.progress.done <= running.progress.total
    done = site.finished(job)
    assert done.video.frames == done.progress.total == done.progress.done == FRAMES


def test_a_job_covers_frames_before_its_prompt(site: Site) -> None:
    """With masks propagated both ways, every frame has one, in presentation order, and counts once."""
    engine = site.start()
    done = site.finished(site.submit(engine, prompt_frame=FRAMES // 2, direction="both"))
    assert done.status is JobStatus.SUCCEEDED
    lines = [json.loads(line) for line in site.masks(done).decode().splitlines()]
    assert [line["index"] for line in lines] == list(range(FRAMES))
    assert [line["index"] for line in lines if line["source"] == "prompt"] == [FRAMES // 2]
    assert (done.progress.done, done.progress.total) == (FRAMES, FRAMES)
    assert done.report["sources"] == {"prompt": 1, "corrected": 0, "key": FRAMES - 1, "propagated": 0, "fallback": 0}
