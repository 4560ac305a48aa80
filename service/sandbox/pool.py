"""Runs functions on untrusted files in separate processes, whose crash does no harm.

All decoding of uploads outside of jobs (inspecting, probing, drawing an overlay) happens here; the API process decodes
nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from queue import LifoQueue
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

from service.errors import RunError, ServiceError, message_of
from service.processes import SPAWN, become_child, limit_memory

_START_SECONDS = 300.0
_PRELOADED = (
    "service.sandbox.inspection",
    "service.sandbox.export",
    "service.sandbox.marking",
    "vos.probe.probe",
    "codec.kernels",
)

Args = ParamSpec("Args")
Result = TypeVar("Result")


class SandboxDiedError(ServiceError):
    """The process died while reading the file, which is damaged or needs too much memory."""


class SandboxTimeoutError(ServiceError):
    """The call took too long."""


class SandboxClosedError(ServiceError):
    """The service is shutting down."""


class Sandbox:
    """A pool of spawned processes without torch, started when first needed and reused.

    Args:
        processes: Number of simultaneous calls; further calls wait.
        timeout: Time limit of a call in seconds.
        memory_bytes: Largest address space of a process. None sets no limit.
    """

    def __init__(self, processes: int = 2, *, timeout: float = 30.0, memory_bytes: int | None = 4 << 30) -> None:
        self._timeout = timeout
        self._memory_bytes = memory_bytes
        self._processes = processes
        # Last in, first out, so that a warm process is used first.
        self._idle: LifoQueue[_Child | None] = LifoQueue()
        for _ in range(processes):
            self._idle.put(None)
        self._alive: set[_Child] = set()
        self._lock = Lock()
        self._closed = False

    def call(self, function: Callable[Args, Result], /, *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Call a module-level function in a process of the pool and return its result.

        Raises:
            SandboxDiedError: The process died or ran out of memory.
            SandboxTimeoutError: The call took too long and was killed.
            SandboxClosedError: `close` was called before the call or during it.
            Exception: Any error that the function raised.
        """
        return self.call_within(self._timeout, function, *args, **kwargs)

    def call_within(
        self, seconds: float, function: Callable[Args, Result], /, *args: Args.args, **kwargs: Args.kwargs
    ) -> Result:
        """Like `call`, with a time limit of its own."""
        child = self._idle.get()
        try:
            if child is None or not child.process.is_alive():
                self._end(child)
                child = self._start()
            child.wait_until_warm()
            answer = child.ask((function, args, kwargs), seconds)
        except BaseException:
            self._end(child)
            child = None
            if self._closed:
                raise SandboxClosedError("the service is shutting down") from None
            raise
        finally:
            self._idle.put(child)
        if isinstance(answer, BaseException):
            raise answer
        return cast("Result", answer)

    def warm_up(self) -> None:
        """Start one process in advance of the first call."""
        self.call_within(self._timeout, len, ())

    def close(self) -> None:
        """Kill the processes. Running and later calls fail."""
        with self._lock:
            self._closed = True
            for child in self._alive:
                child.process.kill()
        # A call whose process was killed returns its place at once.
        for idle in [self._idle.get() for _ in range(self._processes)]:
            self._end(idle)
            self._idle.put(None)

    def _start(self) -> _Child:
        with self._lock:
            if self._closed:
                raise SandboxClosedError("the service is shutting down")
            child = _Child(self._memory_bytes)
            self._alive.add(child)
            return child

    def _end(self, child: _Child | None) -> None:
        if child is not None:
            with self._lock:
                self._alive.discard(child)
            child.kill()


class _Child:
    """One process and the pipe to it."""

    def __init__(self, memory_bytes: int | None) -> None:
        self._connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs, memory_bytes), name="keymask-sandbox", daemon=True)
        self._warm = False
        try:
            self.process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    def wait_until_warm(self) -> None:
        """Wait until the process has imported the decoders, which the time limit of a call does not include."""
        try:
            if not self._warm and self._connection.poll(_START_SECONDS):
                self._connection.recv()
                self._warm = True
        except (EOFError, ConnectionResetError):
            pass
        if not self._warm:
            raise RunError("a sandbox process could not be started")

    def ask(self, call: tuple[Any, ...], seconds: float) -> Any:
        """Return the result of a call, or the exception it raised."""
        try:
            self._connection.send(call)
            if not self._connection.poll(seconds):
                raise SandboxTimeoutError(f"reading the file took more than {seconds:g} s and was stopped")
            answer = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.process.join(5)
            raise SandboxDiedError(
                "the process that read the file died; the file is damaged or needs too much memory"
            ) from None
        if isinstance(answer, MemoryError):
            raise SandboxDiedError("reading the file needs more memory than is allowed")
        return answer

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self._connection.close()


def _serve(connection: Connection, memory_bytes: int | None) -> None:
    """Answer calls until the other end of the pipe closes."""
    become_child()
    if memory_bytes is not None:
        limit_memory(memory_bytes)
    for name in _PRELOADED:
        import_module(name)
    connection.send(None)
    while True:
        try:
            function, args, kwargs = connection.recv()
        except EOFError:
            return
        connection.send_bytes(_answer(function, args, kwargs))


def _answer(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    try:
        return pickle.dumps(function(*args, **kwargs))
    except Exception as error:
        try:
            packed = pickle.dumps(error)
            pickle.loads(packed)
        except Exception:
            return pickle.dumps(RunError(message_of(error)))
        return packed
