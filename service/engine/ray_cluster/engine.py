"""The engine that leaves the work to a Ray cluster."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

from service.engine.ray_cluster.launcher import ActorPlan, launch_actors, plan_of
from service.engine.supervisor import Supervisor
from service.engine.types import EngineConfig
from service.jobs.store import JobStore
from service.runtime.processes import SPAWN
from service.storage.job_files import Storage

_log = logging.getLogger(__name__)

_SILENT_SECONDS = 60.0
"""A launcher that reports no round for this long is replaced: it may wait for a head node that is gone."""
_MAX_PAUSE_SECONDS = 30.0


class RayEngine(Supervisor):
    """A supervisor without workers of its own, beside a process that keeps the actors (`launcher`).

    Jobs run once an actor gives signs of life in the database. Actors outlive the engine.
    """

    def __init__(self, config: EngineConfig, store: JobStore, storage: Storage) -> None:
        super().__init__(replace(config, devices=()), store, storage)
        self._launcher = _Launcher(plan_of(config.settings, config.loader))

    def start(self) -> None:
        """Start the launcher."""
        super().start()
        self._launcher.start()

    def stop(self) -> None:
        """Stop the launcher; the actors stay."""
        self._launcher.stop()
        super().stop()

    def unready_reason(self) -> str | None:
        """Return why no job can run now, in one line; None if jobs can run."""
        reason = super().unready_reason()
        return self._launcher.failure or reason if reason else None


class _Launcher:
    """Starts the launcher's process, and starts it anew whenever it ends or falls silent.

    Attributes:
        failure: Why there is no connection to Ray, None if there is one.
    """

    def __init__(self, plan: ActorPlan) -> None:
        self.failure: str | None = None
        self._plan = plan
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keymask-ray", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = 1.0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._run_once()
            except OSError as error:
                self.failure = f"the process that starts Ray's actors cannot be started: {error}"
            if time.monotonic() - began > _SILENT_SECONDS:
                pause = 1.0
            if not self._stopping.wait(pause):
                _log.warning("connecting to Ray anew", extra={"reason": self.failure})
            pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    def _run_once(self) -> None:
        """Run the process until it ends, falls silent or is not needed any more."""
        ours, theirs = SPAWN.Pipe()
        with closing(ours):
            with closing(theirs):
                process: Any = SPAWN.Process(
                    target=launch_actors, args=(self._plan, theirs), name="keymask-ray", daemon=True
                )
                process.start()
            try:
                self._receive(ours, process)
            finally:
                process.kill()
                process.join()

    def _receive(self, connection: Any, process: Any) -> None:
        heard_at = time.monotonic()
        while not self._stopping.is_set() and time.monotonic() - heard_at < _SILENT_SECONDS:
            try:
                if connection.poll(0.2):
                    connection.recv()
                    heard_at, self.failure = time.monotonic(), None
            except (EOFError, OSError):
                process.join(5)
                break
        if not self._stopping.is_set():
            self.failure = f"there is no connection to Ray at {self._plan.address}; the log may have the reason"
