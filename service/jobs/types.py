"""A job and its parts as frozen records, and the allowed changes of its status."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from threading import Lock
from typing import Any

from service.prompts.objects import PromptObject
from service.run.options import JobOptions


class JobStatus(StrEnum):
    """State of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def finished(self) -> bool:
        """Whether no other status can follow."""
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.QUEUED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
}
"""Status -> the statuses that may follow it. A running job is queued again if its worker dies or the service stops."""

UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class JobVideo:
    """Properties of the uploaded video.

    Attributes:
        codec: Name of the codec, such as "h264".
        width, height: Display size in pixels.
        fps: Average frame rate, None if the container does not state one.
        frames: Number of frames, None if unknown. For a long video without a frame index it is an estimate (duration
            times rate) until the job has read the whole video.
        duration: Length in seconds, None if unknown.
        rotation: Degrees clockwise (0, 90, 180 or 270) that turn the decoded picture upright.
    """

    codec: str
    width: int
    height: int
    fps: float | None
    frames: int | None
    duration: float | None
    rotation: int


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Progress of a job.

    Attributes:
        done: Number of masks written.
        total: Number of masks expected, None if unknown.
        stage: "waiting", "loading", "resuming", "segmenting" or "finished".
        fps: Masks per second since the job started, None before the first mask.
        seconds: Time that workers spent on the job, in all attempts.
    """

    done: int = 0
    total: int | None = None
    stage: str = "waiting"
    fps: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JobError:
    """Reason why a job failed.

    Attributes:
        type: Name of the problem type, such as "video-truncated" (a key of `service.problems.PROBLEMS`).
        detail: One line for users.
    """

    type: str
    detail: str


@dataclass(frozen=True, slots=True)
class LogSegment:
    """Part of a job's mask log: what one attempt at the job wrote, in a file of its own.

    Attributes:
        fence: Fence of the attempt, which names the file. 0 is the file of a job from before there were fences.
        bytes: How many bytes of the file count. None while the attempt writes it: then all complete lines do.
    """

    fence: int
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the events of a job are sent.

    Attributes:
        url: URL that they are posted to.
        events: Names of the events, such as "job.succeeded" (`service.jobs.outbox.EVENTS`).
    """

    url: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event of a job on its way to the job's webhook.

    Attributes:
        job_id: Id of the job.
        event: Name of the event.
        created_at: Time of the event in UTC.
        send_at: Time of the next attempt; None once it is delivered or given up.
        attempts: Number of attempts so far.
        answer: What came of the latest attempt, in one line; None before the first.
        delivered_at: Time at which the receiver confirmed it, None before.
        host: Host that receives it; None for an event of an earlier version.
    """

    job_id: str
    event: str
    created_at: datetime
    send_at: datetime | None
    attempts: int
    answer: str | None
    delivered_at: datetime | None
    host: str | None = None

    @property
    def id(self) -> str:
        """Identifier that all attempts have in common."""
        return f"msg_{self.job_id}_{self.event}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on a running job.

    Attributes:
        job_id: Id of the job.
        fence: Number of the claim. Each claim of a job has a higher one than the claim before.
        worker: Name of the worker.
        lease_until: Time in UTC until which the worker has announced to be alive; None in jobs that were claimed before
            there were leases.
        segments: The job's mask log, as in `Job`; None if this version cannot read them.
    """

    job_id: str
    fence: int
    worker: str
    lease_until: datetime | None
    segments: tuple[LogSegment, ...] | None


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    Attributes:
        id: Identifier from `new_job_id()`, also the name of the job's folder. Ids sort by creation time.
        options: Options the client chose.
        video: Properties of the uploaded video.
        payload_sha256: SHA-256 of everything that was posted, hexadecimal.
        prompt: Objects of the prompt, as read from the mask.
        notes: What the client should know about the uploads, in plain words.
        created_at, started_at, finished_at: Times in UTC.
        status: State of the job.
        progress: Progress of the job.
        expires_at: Time in UTC after which a finished job and its files are removed.
        report: Report of the finished run as JSON values, None before.
        error: Reason of the failure, None if it did not fail.
        api_key_id: Name of the API key that owns the job, None without API keys.
        idempotency_key: The client's `Idempotency-Key`, unique per API key.
        cancel_requested: Whether the job should stop.
        worker: Name of the worker that runs the job.
        fence: Number of the latest claim, 0 before the first one. Only the worker with this number may change the job.
        lease_until: Time in UTC until which that worker has announced to be alive.
        segments: What counts of the mask log, in order; the files hold more if a worker lost the job.
        attempts: How often the job was started.
        deaths: How many workers died while running the job.
        corrects: Id of the job whose masks this one corrects, which may be gone; None for a job with its own masks.
        origin: Id of the first job of the versions that this one is the latest of; None for a first job.
        webhook: Where its events are sent, None if nowhere.
        traceparent: Trace that it belongs to, and the span of the request in it (W3C Trace Context); None without.
        unreadable: Attributes that could not be read from the database and have a substitute here.
    """

    id: str
    options: JobOptions
    video: JobVideo
    payload_sha256: str
    created_at: datetime
    status: JobStatus = JobStatus.QUEUED
    prompt: tuple[PromptObject, ...] = ()
    notes: tuple[str, ...] = ()
    progress: JobProgress = field(default_factory=JobProgress)
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    report: Mapping[str, Any] | None = None
    error: JobError | None = None
    api_key_id: str | None = None
    idempotency_key: str | None = None
    cancel_requested: bool = False
    worker: str | None = None
    fence: int = 0
    lease_until: datetime | None = None
    segments: tuple[LogSegment, ...] = ()
    attempts: int = 0
    deaths: int = 0
    corrects: str | None = None
    origin: str | None = None
    webhook: Webhook | None = None
    traceparent: str | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def claim(self) -> Claim:
        """The claim of the worker that runs the job."""
        return Claim(self.id, self.fence, self.worker or "", self.lease_until, self.segments)


class TransitionError(ValueError):
    """A change of status that `TRANSITIONS` does not allow."""


def check_transition(old: JobStatus, new: JobStatus) -> None:
    """Check a change of status against `TRANSITIONS`.

    Raises:
        TransitionError: The change is not allowed. The message names the allowed statuses.
    """
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing"
        raise TransitionError(f"a job that is {old} cannot become {new}; allowed: {allowed}")


class JobIds:
    """Generates ids of 32 hexadecimal digits: 48 bits of milliseconds since 1970, then 80 random bits.

    Ids ascend even when the clock stands still or goes back: the next id is then the latest one plus 64 random bits,
    so no id can be guessed from another.
    """

    def __init__(self) -> None:
        self._latest = 0
        self._lock = Lock()

    def __call__(self) -> str:
        """Return the next id."""
        with self._lock:
            fresh = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
            self._latest = max(fresh, self._latest + 1 + secrets.randbits(64))
            return f"{self._latest:032x}"


_JOB_ID = re.compile(r"[0-9a-f]{32}")

new_job_id = JobIds()
"""Returns the next id of this process."""


def is_job_id(text: str) -> bool:
    """Return whether a text has the form of `new_job_id`."""
    return _JOB_ID.fullmatch(text) is not None
