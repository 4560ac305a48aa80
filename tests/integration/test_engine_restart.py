"""Death and restart of the whole service: no mask is lost, and no job runs twice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from service.jobs.types import JobStatus
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave
from tests.support.service_process import ServiceProcess
from tests.support.waiting import wait_for


def is_running(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_killed_service_finishes_its_jobs_after_the_restart(site: Site) -> None:
    """The running job resumes from its masks, the queued one runs, and the old worker exits by itself."""
    reference = site.start()
    expected = site.expected(reference)
    reference.stop()
    behave(site.home, seconds=0.3)
    service = ServiceProcess(site)
    running = site.submit()
    waiting = site.submit()
    wait_for(lambda: site.lines(running) >= 8 and site.files(running).state(1).exists())
    service.kill()
    wait_for(lambda: not is_running(service.worker))
    begun = site.masks(running)
    assert site.store.get(running.id).status is JobStatus.RUNNING
    behave(site.home)
    site.start(lease_seconds=2.0)
    for job in (running, waiting):
        done = site.finished(job)
        assert (done.status, done.deaths) == (JobStatus.SUCCEEDED, 0)
        assert site.masks(job) == expected
    done = site.store.get(running.id)
    assert done.report is not None
    assert done.report["resumed"]
    assert 8 <= begun.count(b"\n") < FRAMES
    assert expected.startswith(begun[: begun.rfind(b"\n") + 1])


def test_a_terminated_service_stops_at_a_safe_point(site: Site) -> None:
    """It exits with 0, its worker is gone, and the job is queued with its resume state."""
    behave(site.home, seconds=0.3)
    service = ServiceProcess(site)
    job = site.submit()
    wait_for(lambda: site.lines(job) >= 3)
    assert service.stop() == 0
    assert not is_running(service.worker)
    assert site.store.get(job.id).status is JobStatus.QUEUED
    assert site.files(job).state(1).exists()


def test_a_damaged_resume_state_starts_the_job_over(site: Site) -> None:
    """The masks are computed again, and no line is written twice."""
    engine = site.start()
    expected = site.expected(engine)
    behave(site.home, seconds=0.3)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 4)
    engine.stop()
    site.files(job).state(1).write_bytes(b"damaged")
    behave(site.home)
    site.start()
    done = site.finished(job)
    assert done.report is not None
    assert not done.report["resumed"]
    assert site.masks(job) == expected


def test_masks_after_the_resume_state_are_not_written_twice(site: Site) -> None:
    """Masks written after the last resume state are computed again but not appended again."""
    engine = site.start()
    expected = site.expected(engine)
    behave(site.home, seconds=0.3)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 3)
    early = site.files(job).state(1).read_bytes()
    wait_for(lambda: site.lines(job) >= 8)
    engine.stop()
    site.files(job).state(1).write_bytes(early)
    behave(site.home)
    site.start()
    assert site.finished(job).status is JobStatus.SUCCEEDED
    assert site.masks(job) == expected


def test_a_resume_state_ahead_of_the_masks_starts_the_job_over(site: Site) -> None:
    """A resume state ahead of the mask log, as after a power cut, is ignored."""
    engine = site.start()
    expected = site.expected(engine)
    behave(site.home, seconds=0.3)
    job = site.submit(engine)
    wait_for(lambda: site.lines(job) >= 6)
    engine.stop()
    frames = site.files(job).mask_log(1)
    frames.write_bytes(b"".join(frames.read_bytes().splitlines(keepends=True)[:2]))
    behave(site.home)
    site.start()
    assert site.finished(job).status is JobStatus.SUCCEEDED
    assert site.masks(job) == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 256 KiB; skips the test if it cannot be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk is needed: {mounted.stderr.strip() or 'mount failed'} (run as root)")
    return folder


def test_a_full_disk_fails_the_job_and_not_the_service(site: Site, small_disk: Path) -> None:
    """The job fails with `storage-full`; once there is room, the engine runs the next job."""
    site.storage.root.rename(site.root / "old-files")
    site.storage.root.symlink_to(small_disk)
    try:
        for name in ("jobs", "incoming", "workers"):
            (small_disk / name).mkdir()
        engine = site.start()
        behave(site.home, seconds=0.3)
        job = site.submit(engine)
        wait_for(lambda: site.lines(job) >= 2)
        filler = small_disk / "filler"
        fill(filler)
        failed = site.finished(job)
        assert failed.status is JobStatus.FAILED
        assert failed.error is not None
        assert failed.error.type == "storage-full"
        filler.unlink()
        behave(site.home)
        assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED
        engine.stop()
    finally:
        subprocess.run(["umount", "-l", str(small_disk)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(256))
        except OSError:
            return
