"""Runs functions on untrusted files in separate processes that can do nothing else, and whose crash does no harm.

All decoding of uploads outside of jobs (inspecting, probing, drawing an overlay) happens here; the API process decodes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import LifoQueue
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

from service.errors import ServiceError
from service.sandbox.confinement import ProcessLimits
from service.sandbox.sandbox_process import (
    Call,
    SandboxDiedError,
    SandboxKilledError,
    SandboxProcess,
    SandboxTimeoutError,
)

__all__ = ["Sandbox", "SandboxClosedError", "SandboxDiedError", "SandboxKilledError", "SandboxTimeoutError"]

Args = ParamSpec("Args")
Result = TypeVar("Result")


class SandboxClosedError(ServiceError):
    """The service is shutting down."""


class Sandbox:
    """A pool of fork servers without torch, started when first needed. Each call gets a process of its own.

    Args:
        processes: Number of simultaneous calls; further calls wait.
        timeout: Time limit of a call in seconds.
        limits: Limits of each process.
        modules: Modules of functions to call beside those of this package; processes import nothing but libraries.
    """

    def __init__(
        self,
        processes: int = 2,
        *,
        timeout: float = 30.0,
        limits: ProcessLimits | None = None,
        modules: tuple[str, ...] = (),
    ) -> None:
        self._timeout = timeout
        self._limits = limits or ProcessLimits()
        self._modules = modules
        self._processes = processes
        # Last in, first out, so that a server that runs is used first.
        self._idle: LifoQueue[SandboxProcess | None] = LifoQueue()
        for _ in range(processes):
            self._idle.put(None)
        self._alive: set[SandboxProcess] = set()
        self._lock = Lock()
        self._closed = False

    def call(self, function: Callable[Args, Result], /, *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Call a module-level function in a process of its own and return its result.

        Paths among the arguments are opened here, and the function gets the open files (`service.sandbox.handles`). The
        result crosses as JSON, in the type that the function declares to return.

        Raises:
            SandboxDiedError: The process crashed, ran out of memory or sent no valid answer.
            SandboxKilledError: The process was killed from outside, and so was that of a second attempt.
            SandboxTimeoutError: The call took too long and was killed.
            SandboxClosedError: `close` was called before the call or during it.
            OSError: A file cannot be opened.
            Exception: Any error that the function raised.
        """
        return self.call_within(self._timeout, function, *args, **kwargs)

    def call_within(
        self, seconds: float, function: Callable[Args, Result], /, *args: Args.args, **kwargs: Args.kwargs
    ) -> Result:
        """Like `call`, with a time limit of its own."""
        call = function, args, kwargs
        try:
            return cast("Result", self._attempt(call, seconds))
        except SandboxKilledError:
            return cast("Result", self._attempt(call, seconds))

    def warm_up(self) -> None:
        """Start one fork server in advance of the first call."""
        self.call_within(self._timeout, len, ())

    def close(self) -> None:
        """Kill the processes. Running and later calls fail."""
        with self._lock:
            self._closed = True
            for process in self._alive:
                process.kill()
        # A call whose process was killed returns its place at once.
        for idle in [self._idle.get() for _ in range(self._processes)]:
            self._end(idle)
            self._idle.put(None)

    def _attempt(self, call: Call, seconds: float) -> Any:
        process = self._idle.get()
        try:
            if process is None or not process.is_usable:
                self._end(process)
                process = None
                process = self._start()
            process.wait_until_ready()
            return process.call(call, seconds)
        except BaseException:
            if self._closed:
                raise SandboxClosedError("the service is shutting down") from None
            raise
        finally:
            if process is not None and not process.is_usable:
                self._end(process)
                process = None
            self._idle.put(process)

    def _start(self) -> SandboxProcess:
        with self._lock:
            if self._closed:
                raise SandboxClosedError("the service is shutting down")
            process = SandboxProcess(self._limits, self._modules)
            self._alive.add(process)
            return process

    def _end(self, process: SandboxProcess | None) -> None:
        if process is not None:
            with self._lock:
                self._alive.discard(process)
            process.close()
