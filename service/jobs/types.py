"""What a job is: frozen records, and the arrows along which its status may move."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from threading import Lock
from typing import Any


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def finished(self) -> bool:
        """Whether nothing follows."""
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.QUEUED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
}
"""Status -> those that may follow. From running back to queued: its worker died, or the service was stopped."""

UNFINISHED = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a client may choose.

    Attributes:
        model: Name of a base network; None: the service's default.
        keyframes: "adaptive", "codec" or "every:N".
        prompt_frame: Presentation index of the frame that the mask belongs to.
        start: First frame of the output; None: the prompt's frame.
        end: Frame after the last one of the output; None: the end of the video.
        max_side: Longest side in pixels of the analysed picture; None: the short side is 480 at most.
        quality: "fast", "balanced" or "best": how many key frames "adaptive" takes, how closely the refiner looks.
        max_key_share: Most key frames that "adaptive" takes, as a share of the frames so far.
    """

    model: str | None = None
    keyframes: str = "adaptive"
    prompt_frame: int = 0
    start: int | None = None
    end: int | None = None
    max_side: int | None = None
    quality: str = "balanced"
    max_key_share: float = 1.0


@dataclass(frozen=True, slots=True)
class JobVideo:
    """What probing said of the video. Sizes are display sizes in pixels; None where the container does not say.

    `frames` is an estimate (duration times rate) of a long video whose container lists no frames, until the job has
    read it to its end.
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
    """How far a job is.

    Attributes:
        done: Masks written.
        total: Masks expected, None if unknown.
        stage: "waiting", "loading", "resuming", "segmenting" or "finished".
        fps: Masks a second since the job was started, None before the first one.
    """

    done: int = 0
    total: int | None = None
    stage: str = "waiting"
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed.

    Attributes:
        type: Name of the problem type, such as "broken-stream" (`service.errors.ErrorMapping.problem`).
        detail: One line for people.
    """

    type: str
    detail: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    Attributes:
        id: Name made by the service, `new_job_id()`; also the name of the job's folder. Sorts by time of creation.
        status: Where it stands.
        progress: How far it is.
        created_at, started_at, finished_at: UTC.
        expires_at: UTC time after which a finished job and its files are removed.
        options: What was asked for.
        video: What probing said.
        report: Summary of the finished run as JSON values, None before.
        error: Why it failed, None otherwise.
        api_key_id: Whose it is; None without API keys.
        idempotency_key: The client's `Idempotency-Key`, unique for one API key.
        payload_sha256: Digest of all that was posted, hexadecimal.
        cancel_requested: Whether it is to stop.
        worker: Name of the worker that runs it.
        attempts: How often it was started.
        deaths: How many workers died while they ran it.
    """

    id: str
    options: JobOptions
    video: JobVideo
    payload_sha256: str
    created_at: datetime
    status: JobStatus = JobStatus.QUEUED
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
    attempts: int = 0
    deaths: int = 0


class TransitionError(ValueError):
    """A status that may not follow another one."""


def check_transition(old: JobStatus, new: JobStatus) -> None:
    """Refuse what is not in `TRANSITIONS`.

    Raises:
        TransitionError: Naming what may follow.
    """
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing"
        raise TransitionError(f"a job that is {old} cannot become {new}; allowed: {allowed}")


class JobIds:
    """Makes ids: 32 hexadecimal digits, 48 bits of milliseconds since 1970 and 80 random bits.

    They ascend also while the clock stands still or goes back. Each is then the one before plus 64 random bits, so that
    none can be guessed from another one.
    """

    def __init__(self) -> None:
        self._latest = 0
        self._lock = Lock()

    def __call__(self) -> str:
        """The next id."""
        with self._lock:
            fresh = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
            self._latest = max(fresh, self._latest + 1 + secrets.randbits(64))
            return f"{self._latest:032x}"


new_job_id = JobIds()
"""The next id of this process."""
