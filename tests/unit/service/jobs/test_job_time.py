"""Estimates of how long a job would take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from service.errors import JobTooLongError
from service.jobs.job_time import START_SPEED, megapixels
from service.jobs.store import JobStore
from service.jobs.types import Job, JobProgress, JobStatus, JobVideo, new_job_id
from service.prompts.objects import PromptObject
from service.run.options import JobOptions

NewJob = Callable[..., Job]
SIX_HOURS = 21600.0


def _job(new_job: NewJob, frames: int | None, size: tuple[int, int], objects: int = 1, **options: Any) -> Job:
    prompt = tuple(PromptObject(i + 1, 0, 100, (0, 0, 10, 10)) for i in range(objects))
    video = JobVideo("h264", *size, 30.0, frames, None, 0)
    return new_job(video=video, prompt=prompt, options=JobOptions(**options))


def _measure(store: JobStore, job: Job, seconds: float) -> None:
    """Let the store learn from a job that took this long."""
    progress = JobProgress(1, 1, "finished", 1.0, seconds)
    ended, _ = store.create(replace(job, id=new_job_id(), status=JobStatus.SUCCEEDED, progress=progress))
    store.measure_speed(ended.id, "compact")


def test_what_could_never_end_is_refused(store: JobStore, new_job: NewJob) -> None:
    """An hour of the largest pictures with the most objects is refused even at the speed assumed at the start."""
    with pytest.raises(JobTooLongError, match=r"about 2\.8 days.*may take 6\.0 hours"):
        store.check_time(_job(new_job, 108_000, (4096, 2304), 50), "compact", SIX_HOURS)


@pytest.mark.parametrize(("frames", "size", "objects"), [(108_000, (1920, 1080), 1), (9000, (1920, 1080), 10)])
def test_honest_jobs_pass_with_the_speed_of_two_cores(
    store: JobStore, new_job: NewJob, frames: int, size: tuple[int, int], objects: int
) -> None:
    """An hour with one object and five minutes with ten pass, though two cores take hours; so do unknown lengths."""
    measured = _job(new_job, 300, (854, 480))
    _measure(store, measured, 60.0)  # 5 frames per second
    store.check_time(_job(new_job, frames, size, objects), "compact", SIX_HOURS)
    store.check_time(_job(new_job, None, size, objects), "compact", SIX_HOURS)


def test_an_estimate_that_is_wrong_by_three_refuses_nothing(store: JobStore, new_job: NewJob) -> None:
    """Three times the time allowed passes, more does not; the error says estimate and bound."""
    work = megapixels(_job(new_job, 1000, (640, 480)))
    assert work is not None
    allowed = work / START_SPEED / 3
    store.check_time(_job(new_job, 999, (640, 480)), "compact", allowed)
    with pytest.raises(JobTooLongError, match=r"would take about .* seconds; a job may take .* seconds"):
        store.check_time(_job(new_job, 1010, (640, 480)), "compact", allowed)


def test_work_grows_with_frames_pixels_and_objects(new_job: NewJob) -> None:
    """Only frames that the job reads count, at the size at which it analyzes them."""
    work = lambda *args, **options: megapixels(_job(new_job, *args, **options)) or 0.0  # noqa: E731
    base = work(100, (640, 480))
    assert base == pytest.approx(100 * 0.3072 * 1.1)
    assert work(200, (640, 480)) == pytest.approx(2 * base)
    assert work(200, (640, 480), end=50) == pytest.approx(base / 2)
    assert work(200, (640, 480), prompt_frame=100) == pytest.approx(base)
    assert work(100, (640, 480), objects=10) == pytest.approx(7 * base)
    assert work(100, (1280, 960)) == pytest.approx(100 * 0.3072 * 1.4)
    assert work(100, (1280, 960), analysis_side=960) == pytest.approx(4 * base)
    assert work(100, (1280, 960), max_side=320) < work(100, (1280, 960))
    assert work(100, (1280, 960), analysis_side="auto") == work(100, (1280, 960))


def test_speed_is_measured_by_long_jobs_and_kept(database_url: str, new_job: NewJob) -> None:
    """A long job replaces the assumption; a faster one counts at once, a slower one little, a short one not at all."""
    store = JobStore(database_url)
    job = _job(new_job, 1000, (640, 480))
    work = megapixels(job)
    assert work is not None
    assert store.speed("compact") == START_SPEED
    speeds = []
    for seconds in (59.0, 200.0, 100.0, 400.0):
        _measure(store, job, seconds)
        speeds.append(store.speed("compact"))
    expected = [START_SPEED, work / 200, work / 100, 0.8 * work / 100 + 0.2 * work / 400]
    assert speeds == pytest.approx(expected)
    assert store.speed("stm") == START_SPEED
    store.close()
    if database_url != "sqlite://":
        again = JobStore(database_url)
        assert again.speed("compact") == pytest.approx(expected[-1])
        again.close()
