"""The supervisor with real worker processes: cancel, delete, stop and housekeeping."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest

from service.jobs.types import JobStatus
from service.storage.job_files import Storage
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave, has_faulted
from tests.support.waiting import wait_for


class TestCancel:
    """Canceling and deleting jobs in every state."""

    def test_a_canceled_queued_job_never_runs(self, site: Site) -> None:
        """It is canceled at once, and no worker claims it."""
        job = site.submit()
        assert site.store.request_cancel(job.id).status is JobStatus.CANCELED
        engine = site.start()
        assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED
        assert site.lines(job) == 0

    def test_a_canceled_running_job_keeps_its_masks(self, site: Site) -> None:
        """It stops between two masks, and the worker runs the next job."""
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
        wait_for(site.is_tidy)

    def test_canceling_a_finished_job_changes_nothing(self, site: Site) -> None:
        """The job and its masks stay the same."""
        engine = site.start()
        done = site.finished(site.submit(engine))
        assert site.store.request_cancel(done.id) == done
        assert site.lines(done) == FRAMES

    def test_a_hanging_worker_of_a_canceled_job_is_killed(self, site: Site) -> None:
        """A cancel works even if the worker hangs, for instance in the decoder; the job does not run again."""
        engine = site.start(cancel_seconds=1.0)
        behave(site.home, fault={"at": 5, "kind": "hang"})
        job = site.submit(engine)
        wait_for(lambda: site.lines(job) == 5)
        wait_for(lambda: has_faulted(site.home))
        site.store.request_cancel(job.id)
        assert site.finished(job).status is JobStatus.CANCELED
        assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED

    @pytest.mark.parametrize(
        "state",
        [pytest.param("queued", marks=pytest.mark.long), "running", pytest.param("finished", marks=pytest.mark.long)],
    )
    def test_delete_leaves_no_file_and_no_row(self, site: Site, state: str) -> None:
        """A deleted job soon leaves nothing behind, whatever its state was."""
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
    """Orderly shutdown and restart."""

    def test_a_stopped_job_resumes_after_the_restart(self, site: Site) -> None:
        """It is returned at a safe point; another engine finishes it with the result of an uninterrupted run."""
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
        before = site.masks(job)
        behave(site.home)
        site.start()
        done = site.finished(job)
        assert done.status is JobStatus.SUCCEEDED
        assert done.report is not None
        assert done.report["resumed"]
        assert site.masks(job) == expected
        assert expected.startswith(before)

    def test_no_process_is_left(self, site: Site) -> None:
        """After `stop` the worker process is gone, and stopping again does nothing."""
        engine = site.start()
        pid = engine.workers()[0].pid
        assert pid is not None
        engine.stop()
        engine.stop()
        engine.wake()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_a_worker_that_does_not_end_in_time_is_killed(self, site: Site) -> None:
        """Its job is requeued, and the next engine runs it."""
        engine = site.start(grace_seconds=0.5)
        behave(site.home, fault={"at": 5, "kind": "hang"})
        job = site.submit(engine)
        wait_for(lambda: site.lines(job) == 5)
        wait_for(lambda: has_faulted(site.home))
        engine.stop()
        assert site.store.get(job.id).status is JobStatus.QUEUED
        site.start()
        assert site.finished(job).status is JobStatus.SUCCEEDED


class TestHousekeeping:
    """Removal of expired jobs and orphaned files."""

    def test_an_expired_job_is_removed_with_its_files(self, site: Site) -> None:
        """A finished job is removed soon after its retention."""
        site.store.retention = timedelta(seconds=0.5)
        engine = site.start()
        job = site.submit(engine)
        wait_for(lambda: not site.store.known([job.id]))
        assert not site.files(job).folder.exists()

    def test_files_without_a_job_are_swept(self, site: Site) -> None:
        """A folder whose job was never created, for instance because of a crash, is removed."""
        with site.storage.upload() as upload:
            upload.video.write_bytes(b"x")
            orphan = site.storage.adopt(upload, "0" * 32)
        site.storage = Storage(site.storage.root, reserve=0, lease_seconds=0.2)
        site.start()
        wait_for(lambda: not orphan.folder.exists())

    def test_young_files_without_a_job_are_kept(self, site: Site) -> None:
        """While the engine runs, a young folder without a job stays, because its job may be about to be created."""
        engine = site.start()
        with site.storage.upload() as upload:
            upload.video.write_bytes(b"x")
            young = site.storage.adopt(upload, "0" * 32)
        time.sleep(1.2)
        assert young.folder.exists()
        assert engine.ready
