"""The engine of one machine: one spawned process a device, watched and replaced."""

from __future__ import annotations

from service.engine.types import EngineConfig, EngineTotals, WorkerStatus
from service.jobs.store import JobStore
from service.storage import Storage


class LocalEngine:
    """An `Engine` whose workers are children of this process."""

    def __init__(self, config: EngineConfig, store: JobStore, storage: Storage) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Bring interrupted jobs back into the queue and start the workers."""

    def stop(self) -> None:
        """Let every worker come to a safe point and end; what was running goes back into the queue."""

    def wake(self) -> None:
        """Say that a job waits, was canceled or is to be deleted."""

    @property
    def ready(self) -> bool:
        """Whether a worker holds its network."""
        raise NotImplementedError

    def workers(self) -> tuple[WorkerStatus, ...]:
        """The workers as they are now."""
        raise NotImplementedError

    def totals(self) -> EngineTotals:
        """What was done so far."""
        raise NotImplementedError
