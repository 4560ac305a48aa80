"""A place for one worker: its process, what it last said, and when to try again after it died."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from service.engine.launch import launch
from service.engine.messages import Assignment, Command, Ended, Heartbeat, NotReady, Ready
from service.engine.types import EngineConfig, WorkerState, WorkerStatus
from service.jobs.store import JobStore
from service.processes import SPAWN
from service.storage.job_files import Storage

_LONGEST_PAUSE = 30.0


class WorkerProcess:
    """Keeps one worker process after another.

    Attributes:
        name: Name of the present worker.
        status: What is known of it.
        devices: CUDA devices of the machine, as the worker found them.
        beat_at: When it last showed progress, in monotonic seconds.
    """

    def __init__(self, device: str, config: EngineConfig, store: JobStore, storage: Storage) -> None:
        self.device = device
        self.devices = 0
        self.beat_at = 0.0
        self._config, self._store, self._storage = config, store, storage
        self._process: Any = None
        self._connection: Connection | None = None
        self._failures = 0
        self._failure: str | None = None
        self._start_at = 0.0
        self.status = WorkerStatus("", device, None, WorkerState.STARTING)

    @property
    def running(self) -> bool:
        """Whether there is a process, dead or alive."""
        return self._process is not None

    @property
    def waitables(self) -> list[Any]:
        """What to wait for: news from the worker and its end."""
        return [] if self._process is None else [self._connection, self._process.sentinel]

    @property
    def is_dead(self) -> bool:
        """Whether there is a process that has ended."""
        return self._process is not None and not self._process.is_alive()

    def start_if_due(self) -> bool:
        """Start a process if there is none and the pause after failures is over.

        Raises:
            OSError: The system gives no process or pipe; nothing is left of the try.
        """
        if self._process is not None or time.monotonic() < self._start_at:
            return False
        name = f"worker-{secrets.token_hex(8)}"
        assignment = Assignment(
            name, self.device, self._config, self._store.url, self._storage.root, self._store.retention
        )
        try:
            self._process, self._connection = _start(assignment)
        except OSError as error:
            self._failure = f"a worker process cannot be started: {error.strerror or error}"
            self.status = replace(self.status, failure=self._failure)
            raise
        self.beat_at = time.monotonic()
        self.status = WorkerStatus(name, self.device, self._process.pid, WorkerState.STARTING, failure=self._failure)
        return True

    def receive(self) -> Iterator[Heartbeat | Ended]:
        """Read what the worker has said; gives what is to be counted."""
        try:
            while self._connection is not None and self._connection.poll():
                message = self._connection.recv()
                self.beat_at = time.monotonic()
                self._note(message)
                if isinstance(message, (Heartbeat, Ended)):
                    yield message
        except (EOFError, OSError):
            return

    def send(self, order: Command) -> None:
        """Tell the worker something, if it lives."""
        try:
            if self._connection is not None:
                self._connection.send(order)
        except OSError:
            pass

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def bury(self) -> int | None:
        """Forget a dead process; the next one starts at once if this one had been ready, else after a pause.

        Returns:
            Its exit code; negative: the signal that ended it.
        """
        process, self._process = self._process, None
        process.join()
        exit_code: int | None = process.exitcode
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self.status.state is WorkerState.STARTING:
            self._failures += 1
            self._failure = self._failure or f"the worker process ended with exit code {exit_code} before it was ready"
            self._start_at = time.monotonic() + min(_LONGEST_PAUSE, 0.5 * 2**self._failures)
        self.status = WorkerStatus("", self.device, None, WorkerState.STARTING, failure=self._failure)
        return exit_code

    def _note(self, message: object) -> None:
        about = self.status
        job_id, state, model = about.job_id, about.state, about.model
        if isinstance(message, NotReady):
            self._failure = message.reason
        elif isinstance(message, Ready):
            self._failures, self._failure = 0, None
            self.devices = message.devices
            model, state = message.description, WorkerState.IDLE
        elif isinstance(message, Heartbeat):
            job_id = message.job_id
            state = WorkerState.IDLE if job_id is None else WorkerState.BUSY
        elif isinstance(message, Ended):
            job_id, state = None, WorkerState.IDLE
        self.status = WorkerStatus(about.name, about.device, about.pid, state, job_id, model, self._failure)


def _start(assignment: Assignment) -> tuple[Any, Connection]:
    """A worker's process and our end of the pipe to it."""
    ours, theirs = SPAWN.Pipe()
    with closing(theirs):
        name = f"keymask-{assignment.name}"
        process = SPAWN.Process(target=launch, args=(assignment, theirs), name=name, daemon=True)
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
    return process, ours
