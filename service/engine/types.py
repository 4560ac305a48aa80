"""What the service asks of an engine, whatever runs the jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from service.config import Settings
from service.run.model_loader import ModelChoice


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How an engine runs; it goes to worker processes whole.

    Attributes:
        devices: One worker each: "cpu", "cuda:0", ...; ("auto",): every CUDA device, else the CPU; (): no worker here.
        model: The default network, loaded before a worker is ready.
        loader: Dotted path "module:function" of an `ModelLoader`.
        stall_seconds: A worker that shows no progress for this long is killed.
        cancel_seconds: A worker that has not stopped this long after a cancel is killed.
        grace_seconds: A worker that has not come to a safe point this long after the engine is stopped is killed.
        poll_seconds: How often an idle worker looks for a job that nobody told it of, and a busy one for a cancel.
        state_seconds: Least time between two stored states of a running job.
        housekeeping_seconds: How often expired jobs and ownerless files are looked for.
        settings: What a loader may ask for.
    """

    devices: tuple[str, ...] = ("auto",)
    model: ModelChoice = field(default_factory=ModelChoice)
    loader: str = "service.run.model_loader:load_model"
    stall_seconds: float = 120.0
    cancel_seconds: float = 5.0
    grace_seconds: float = 10.0
    poll_seconds: float = 0.25
    state_seconds: float = 2.0
    housekeeping_seconds: float = 30.0
    settings: Settings = field(default_factory=Settings)


class WorkerState(StrEnum):
    """What a worker does."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker.

    Attributes:
        name: As in `Job.worker`.
        device: Its device, as asked for; resolved once it is ready.
        pid: Its process.
        state: What it does.
        job_id: The job it runs.
        model: Description of the network it holds, None until it is ready.
        failure: Why its predecessors could not start, if they could not.
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
    """Counters since the engine was started, for metrics.

    Attributes:
        frames: Source of a mask -> frames.
        seconds: Stage -> seconds.
        jobs: Status -> jobs that ended in it.
        worker_restarts: Workers that were replaced.
        resumed_jobs: Jobs that went on from stored masks.
    """

    frames: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    jobs: Mapping[str, int] = field(default_factory=dict)
    worker_restarts: int = 0
    resumed_jobs: int = 0


class Engine(Protocol):
    """Runs jobs in the background. No method waits for a job."""

    def start(self) -> None:
        """Bring interrupted jobs back into the queue and start the workers."""

    def stop(self) -> None:
        """Let every worker come to a safe point and end; what was running goes back into the queue."""

    def wake(self) -> None:
        """Say that a job waits, was canceled or is to be deleted."""

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have a function called with the id of each job that has ended, from any thread; it must not block."""

    @property
    def ready(self) -> bool:
        """Whether a worker holds its network."""

    def workers(self) -> tuple[WorkerStatus, ...]:
        """The workers as they are now."""

    def totals(self) -> EngineTotals:
        """What was done so far."""
