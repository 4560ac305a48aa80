"""One worker process of the supervisor, replaced by a new one when it dies."""

from __future__ import annotations

import secrets
import select
import socket
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
from service.runtime.processes import SPAWN
from service.storage.job_files import Storage

_MAX_BACKOFF_SECONDS = 30.0
_MAX_HOST = 40
"""Characters of the host's name in that of a worker, which metrics and the log show."""


class WorkerProcess:
    """Starts, observes and replaces the worker process of one device.

    Attributes:
        device: Device of the worker.
        status: Status of the current worker.
        devices: Number of CUDA devices of the machine, 0 until a worker has reported it.
        heartbeat_at: Time of the latest message from the worker, in monotonic seconds.
    """

    def __init__(self, device: str, config: EngineConfig, store: JobStore, storage: Storage) -> None:
        self.device = device
        self.devices = 0
        self.heartbeat_at = 0.0
        self._config, self._store, self._storage = config, store, storage
        self._process: Any = None
        self._connection: Connection | None = None
        self._failures = 0
        self._failure: str | None = None
        self._start_at = 0.0
        self.status = WorkerStatus("", device, None, WorkerState.STARTING)

    @property
    def exists(self) -> bool:
        """Whether there is a process, dead or alive."""
        return self._process is not None

    @property
    def is_dead(self) -> bool:
        """Whether there is a process that has ended."""
        return self._process is not None and not self._process.is_alive()

    @property
    def handles(self) -> list[Any]:
        """Objects that become ready when the worker sends a message or ends."""
        return [] if self._process is None else [self._connection, self._process.sentinel]

    def start_if_due(self) -> None:
        """Start a process if there is none and the backoff after failures is over.

        Raises:
            OSError: The system cannot create a process or a pipe. The next attempt waits for the backoff.
        """
        if self._process is not None or time.monotonic() < self._start_at:
            return
        name = f"{socket.gethostname()[:_MAX_HOST]}-{secrets.token_hex(8)}"
        assignment = Assignment(
            name, self.device, self._config, self._store.url, self._storage.root, self._store.retention
        )
        try:
            self._process, self._connection = _start(assignment)
        except Exception as error:
            self._failure = f"a worker process cannot be started: {getattr(error, 'strerror', None) or error}"
            self.status = replace(self.status, failure=self._failure)
            self._back_off()
            raise
        self.heartbeat_at = time.monotonic()
        self.status = WorkerStatus(name, self.device, self._process.pid, WorkerState.STARTING, failure=self._failure)

    def receive(self) -> Iterator[Heartbeat | Ended]:
        """Read all messages, update the status and yield the messages that the supervisor counts."""
        try:
            while self._connection is not None and self._connection.poll():
                message = self._connection.recv()
                self.heartbeat_at = time.monotonic()
                self._update_status(message)
                if isinstance(message, (Heartbeat, Ended)):
                    yield message
        except (EOFError, OSError):
            return

    def send(self, command: Command) -> None:
        """Send a command to the worker if it is alive. A worker that reads none gets no more than fit into the pipe."""
        try:
            if self._connection is not None and _is_writable(self._connection):
                self._connection.send(command)
        except OSError:
            pass

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()

    def reap(self) -> int | None:
        """Clean up after a dead process. If it never was ready, the next one starts after a backoff, else at once.

        Returns:
            The exit code; a negative one is the signal that ended the process.
        """
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        was_starting = self.status.state is WorkerState.STARTING
        self.status = WorkerStatus("", self.device, None, WorkerState.STARTING)
        if connection is not None:
            connection.close()
        process.join()
        exit_code: int | None = process.exitcode
        if was_starting:
            self._failure = self._failure or f"the worker process ended with exit code {exit_code} before it was ready"
            self._back_off()
        self.status = replace(self.status, failure=self._failure)
        return exit_code

    def _back_off(self) -> None:
        self._failures += 1
        self._start_at = time.monotonic() + min(_MAX_BACKOFF_SECONDS, 0.5 * 2 ** min(self._failures, 10))

    def _update_status(self, message: object) -> None:
        old = self.status
        job_id, state, model = old.job_id, old.state, old.model
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
        self.status = WorkerStatus(old.name, old.device, old.pid, state, job_id, model, self._failure)


def _is_writable(connection: Connection) -> bool:
    """Return whether a short message fits into the pipe, so that a worker that is stopped does not block the sender."""
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(0))


def _start(assignment: Assignment) -> tuple[Any, Connection]:
    """Start a worker process; return it and the supervisor's end of the pipe."""
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
