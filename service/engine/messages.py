"""What a worker and its engine say to each other over their pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from service.engine.types import EngineConfig
from service.jobs.types import JobStatus


class Command(StrEnum):
    """From the engine."""

    WAKE = "wake"
    """A job waits."""
    DRAIN = "drain"
    """Come to a safe point, give the job back, end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The network is loaded.

    Attributes:
        description: What the report says of the network.
        devices: CUDA devices of the machine.
    """

    description: Mapping[str, Any]
    devices: int


@dataclass(frozen=True, slots=True)
class NotReady:
    """The network cannot be loaded; the worker ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The worker got on with its work.

    Attributes:
        job_id: The job it runs, None if it waits for one.
        frames: Source -> masks since the last beat.
        seconds: Stage -> seconds since the last beat.
    """

    job_id: str | None = None
    frames: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """A job was brought to an end, or given back (`status` is queued then).

    Attributes:
        job_id: The job.
        status: Where it stands now.
        resumed: Whether it went on from stored masks.
    """

    job_id: str
    status: JobStatus
    resumed: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told once.

    Attributes:
        name: Its name in `Job.worker`, never used twice.
        device: Its device.
        config: How the engine runs.
        database_url: The jobs.
        storage_root: Their files.
        retention: How long finished ones are kept.
    """

    name: str
    device: str
    config: EngineConfig
    database_url: str
    storage_root: Path
    retention: timedelta
