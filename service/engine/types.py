"""The engine of jobs as the service sees it: configuration, state and the `Engine` protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from service.config import Settings
from service.run.model_loader import ModelChoice


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Configuration of an engine and its workers.

    Attributes:
        devices: Devices with one worker each, such as "cpu" or "cuda:0". ("auto",) selects every CUDA device, or the
            CPU if there is none. () starts no worker.
        model: The default base network. A worker loads it before it is ready.
        loader: Dotted path "module:function" of a `ModelLoader`.
        stall_seconds: Time without progress after which a worker is killed.
        cancel_seconds: Time without progress after which a worker with a canceled job is killed.
        grace_seconds: Time after `stop` after which a worker that is still running is killed.
        poll_seconds: Interval at which an idle worker polls for a job, and a busy worker for a cancel.
        state_seconds: Shortest time between two saved resume states of a job.
        housekeeping_seconds: Interval at which expired jobs and orphaned files are removed.
        lease_seconds: How long a worker's claim on a job holds without being renewed, which it is three times as often.
        caretaker: Whether the engine also looks after what no worker of its own has: it takes over jobs of workers of
            other machines that are gone, and removes what has expired. API processes do, and there are few of them.
        settings: Settings of the service, passed to the loader.
    """

    devices: tuple[str, ...] = ("auto",)
    model: ModelChoice = field(default_factory=ModelChoice)
    loader: str = "service.run.model_loader:load_model"
    stall_seconds: float = 120.0
    cancel_seconds: float = 5.0
    grace_seconds: float = 10.0
    poll_seconds: float = 0.25
    state_seconds: float = 1.0
    housekeeping_seconds: float = 30.0
    lease_seconds: float = 15.0
    caretaker: bool = True
    settings: Settings = field(default_factory=Settings)


class WorkerState(StrEnum):
    """State of a worker."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """Status of one worker.

    Attributes:
        name: Name as in `Job.worker`.
        device: Device as configured.
        pid: Id of its process, None if there is none.
        state: State of the worker.
        job_id: Id of the job it runs.
        model: Description of the loaded network, None until the worker is ready.
        failure: Reason why the worker could not start the last time, None once it is ready.
    """

    name: str
    device: str
    pid: int | None
    state: WorkerState
    job_id: str | None = None
    model: Mapping[str, object] | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class EngineTotals:
    """Counters since the start of the engine, for metrics.

    Attributes:
        frames: Number of frames per source of the mask.
        seconds: Seconds spent per stage.
        jobs: Number of finished jobs per status.
        worker_restarts: Number of replaced workers.
        resumed_jobs: Number of jobs that resumed from stored masks.
        remote_processes: Number of other processes with workers that give signs of life, if this one has none.
    """

    frames: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    jobs: Mapping[str, int] = field(default_factory=dict)
    worker_restarts: int = 0
    resumed_jobs: int = 0
    remote_processes: int = 0


class Engine(Protocol):
    """Runs jobs in the background. No method blocks until a job ends."""

    def start(self) -> None:
        """Start the workers."""

    def stop(self) -> None:
        """Stop all workers at a safe point and requeue their jobs."""

    def wake(self) -> None:
        """Tell the engine that a job was created, canceled or deleted."""

    def listen(self, listener: Callable[[str], None]) -> None:
        """Register a function to call with the id of each job that ends, from any thread; it must not block."""

    @property
    def ready(self) -> bool:
        """Whether jobs run."""

    def unready_reason(self) -> str | None:
        """Return why no job can run now, in one line; None if jobs can run."""

    def workers(self) -> tuple[WorkerStatus, ...]:
        """Return the current status of all workers."""

    def totals(self) -> EngineTotals:
        """Return the counters."""
