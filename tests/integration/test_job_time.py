"""The bound on the time of a job: what could never end is refused, what does not end in time fails."""

from __future__ import annotations

from pathlib import Path

from service.config import Settings
from service.jobs.types import JobStatus
from tests.support.engine_site import FRAMES, Site
from tests.support.fakes import behave
from tests.support.serving import served
from tests.support.waiting import files_below


def test_a_job_that_could_never_end_is_refused(tmp_path: Path) -> None:
    """The error says estimate and bound; nothing of the job remains."""
    with served(tmp_path / "service", job_seconds=1e-4) as service:
        answer = service.post()
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/job-too-long")
        assert answer.json()["detail"].startswith("the job would take about 0 seconds; a job may take 0 seconds")
        assert service.client.get("/v1/jobs").json()["jobs"] == []
        assert not files_below(service.services.settings.files_dir / "jobs")


def test_a_job_fails_at_the_bound_counted_over_its_attempts(site: Site) -> None:
    """An attempt that died counts too; the masks stay, and the next job runs."""
    behave(site.home, seconds=0.25, fault={"at": 10, "kind": "kill"})
    engine = site.start(settings=Settings(home=site.home, job_seconds=6.5))
    failed = site.finished(site.submit(engine))
    assert (failed.status, failed.deaths, failed.attempts) == (JobStatus.FAILED, 1, 2)
    assert failed.error is not None
    assert failed.error.type == "job-timeout"
    assert "6.5" in failed.error.detail
    # The first attempt took at least 10 frames of 0.25 s, so the second had no time for the other 20.
    assert 10 <= site.lines(failed) < FRAMES
    behave(site.home)
    assert site.finished(site.submit(engine)).status is JobStatus.SUCCEEDED
