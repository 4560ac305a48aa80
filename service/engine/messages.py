"""Messages between a worker and its supervisor over their pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.engine.types import EngineConfig
from service.jobs.types import Job, JobStatus


class Command(StrEnum):
    """Message from the supervisor to a worker."""

    WAKE = "wake"
    """A job may be waiting."""
    DRAIN = "drain"
    """Stop at a safe point, return the job and exit."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has loaded its network.

    Attributes:
        description: Description of the network, as in reports.
        devices: Number of CUDA devices of the machine.
    """

    description: Mapping[str, Any]
    devices: int


@dataclass(frozen=True, slots=True)
class NotReady:
    """The worker cannot load its network and exits."""

    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The worker makes progress.

    Attributes:
        job_id: Id of the job it runs, None if it is idle.
        frames: Number of masks per source since the last heartbeat.
        seconds: Seconds per stage since the last heartbeat.
    """

    job_id: str | None = None
    frames: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttemptTrace:
    """What the trace of a job says of an attempt that has ended.

    Attributes:
        job: The job, as it was claimed.
        began_at: Time of the claim.
        frames: Number of masks per source.
        seconds: Seconds per stage.
    """

    job: Job
    began_at: datetime
    frames: Mapping[str, int]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker has finished a job or returned it.

    Attributes:
        job_id: Id of the job.
        status: New status of the job, `QUEUED` if it was returned or will be tried again, None if it was lost.
        resumed: Whether this attempt resumed from stored masks.
        trace: What is traced of the attempt, None if the job belongs to no trace.
    """

    job_id: str
    status: JobStatus | None
    resumed: bool
    trace: AttemptTrace | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """Start arguments of a worker process.

    Attributes:
        name: Unique name of the worker, as in `Job.worker`.
        device: Device of the worker.
        config: Configuration of the engine.
        database_url: URL of the job store.
        storage_root: Folder of all files.
        retention: How long a finished job is kept.
    """

    name: str
    device: str
    config: EngineConfig
    database_url: str
    storage_root: Path
    retention: timedelta
