"""How long a job would take, from its work and from the speed that finished jobs had.

The estimate only refuses what could never end. It is wrong by a factor of two or three: masks shrink and vanish, other
programs run. The bound on the run time (`KEYMASK_JOB_SECONDS`) stops what it let pass.
"""

from __future__ import annotations

from sqlalchemy import select

from service.errors import JobTooLongError
from service.jobs.database import upsert
from service.jobs.rows import Rows
from service.jobs.schema import jobs, speeds
from service.jobs.types import Job, JobStatus
from service.run.options import JobOptions

START_SPEED = 20.0
"""Megapixels per second before a long job has ended: about ten times the speed of two processor cores."""
MIN_MEASURED_SECONDS = 60.0
"""Shorter jobs say little about the speed: they load and compile."""
_CLEARLY = 3.0
"""A job is refused if it would take this many times the time allowed."""
_DISPLAY_SHARE = 0.1
"""Cost of a pixel of the full-size picture (decoding, edges) relative to one of the analyzed picture."""
_MEMORY = 0.8
"""Weight of the earlier speed if a job was slower; a faster one counts at once."""


def megapixels(job: Job) -> float | None:
    """Return the work of a job in megapixels of one object; None if the number of its frames is unknown.

    Each further object costs two thirds of the first, which fits measurements with 1 to 50 objects.
    """
    options, video = job.options, job.video
    ends = [end for end in (options.end, video.frames) if end is not None]
    if video.frames is None or not video.width or not video.height:
        return None
    both = options.direction == "both"
    frames = max(1, min(ends) - (options.first_frame if both else options.prompt_frame)) * (2 if both else 1)
    full = video.width * video.height
    objects = max(1, len(job.prompt))
    per_object = frames * full * (_analysis_share(options, video.width, video.height) + _DISPLAY_SHARE)
    return per_object * (1 + 2 * objects) / 3 / 1e6


def _analysis_share(options: JobOptions, width: int, height: int) -> float:
    """Return the share of the picture's pixels that is analyzed, at least."""
    side = options.least_analysis_side
    scale = min(1.0, side / min(width, height), (options.max_side or max(width, height)) / max(width, height))
    return scale * scale


class JobTimes(Rows):
    """The measured speed of each base network, and the estimates made with it."""

    def check_time(self, job: Job, model: str, allowed: float) -> None:
        """Refuse a job that would take clearly longer than allowed.

        Args:
            job: The job, not yet created.
            model: Name of the base network that it would run with.
            allowed: Time allowed in seconds.

        Raises:
            JobTooLongError: The estimate is more than three times the time allowed.
        """
        work = megapixels(job)
        estimate = 0.0 if work is None else work / self.speed(model)
        if estimate > _CLEARLY * allowed:
            raise JobTooLongError(
                f"the job would take about {_hours(estimate)}; a job may take {_hours(allowed)}: choose fewer frames "
                "(end), fewer objects, or a smaller analysis_side"
            )

    def speed(self, model: str) -> float:
        """Return the speed of a base network in megapixels per second, measured or assumed."""
        with self._engine.connect() as connection:
            found = connection.scalar(select(speeds.c.megapixels_per_second).where(speeds.c.model == model))
        return found or START_SPEED

    def measure_speed(self, job_id: str, default_model: str) -> None:
        """Learn from a job that has ended, if it succeeded.

        The fastest of several workers counts most, so that no job is refused that one of them could run.

        Args:
            job_id: Id of the job.
            default_model: Name of the base network of jobs that name none.
        """
        job = self._first(
            select(jobs).where(
                jobs.c.id == job_id, jobs.c.status == JobStatus.SUCCEEDED, jobs.c.corrects.is_(None)
            )  # a correction computes few of its frames
        )
        work = None if job is None else megapixels(job)
        if job is None or work is None or job.progress.seconds < MIN_MEASURED_SECONDS:
            return
        measured, model = work / job.progress.seconds, job.options.model or default_model
        with self._engine.begin() as connection:
            earlier = connection.scalar(select(speeds.c.megapixels_per_second).where(speeds.c.model == model))
            new = max(measured, _MEMORY * (earlier or 0.0) + (1 - _MEMORY) * measured)
            upsert(connection, speeds, {"model": model}, {"megapixels_per_second": new})


def _hours(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
    return f"{seconds / 86400:.1f} days" if seconds >= 2 * 86400 else f"{seconds / 3600:.1f} hours"
