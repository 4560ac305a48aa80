"""The parent's side of a fork server: starts it, sends calls, and reads answers that it does not trust."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from service.config import library_environment
from service.errors import RunError, ServiceError
from service.sandbox.answers import MAX_BYTES, MalformedAnswerError, decode
from service.sandbox.confinement import ProcessLimits
from service.sandbox.fork_server import DONE, NOT_CONFINED, READY, STATUS, TIMED_OUT, Request
from service.sandbox.handles import packed

_START_SECONDS = 300.0
_MARGIN_SECONDS = 5.0
"""How much later than the call's time limit the status may come."""
_BLOCK = 1 << 16
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGQUIT)
"""Exit codes of signals that no decoder raises: an operator, the end of the service, or a machine out of memory."""
_KILLED = "the process that read the file was ended from outside; try again"
_CODE = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given.pop('path'); "
    "from service.sandbox.fork_server import start; start(**given)"
)


Call: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A function, its arguments and its named arguments."""


class SandboxDiedError(ServiceError):
    """The process died while reading the file, which is damaged or needs too much memory."""


class SandboxKilledError(ServiceError):
    """The process was killed from outside, so another attempt may succeed."""


class SandboxTimeoutError(ServiceError):
    """The call took too long."""


class SandboxProcess:
    """A fork server, and the processes that it makes one after another.

    Its environment has none of the service's variables, so no password is in the memory of what it makes.

    Args:
        limits: Limits of each process.
        modules: Modules to import in advance beside those of this package.
    """

    def __init__(self, limits: ProcessLimits, modules: tuple[str, ...] = ()) -> None:
        self._control, theirs = socket.socketpair()
        self._is_ready = self._is_broken = self._owes_status = False
        given = {
            "path": [str(Path(entry).absolute()) for entry in sys.path],
            "descriptor": theirs.fileno(),
            "limits": asdict(limits),
            "modules": modules,
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CODE, json.dumps(given)],
                env=library_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a terminal's Ctrl-C is for the parent, which then ends the process
            )
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()

    @property
    def is_usable(self) -> bool:
        """Whether the fork server takes calls."""
        return not self._is_broken and self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait until the decoders are imported, which the time limit of a call does not include.

        Raises:
            SandboxKilledError: The process was killed from outside before, or is not ready in time.
            RunError: It ended on its own.
        """
        if self._is_ready:
            return
        self._control.settimeout(_START_SECONDS)
        with suppress(OSError):
            self._is_ready = self._control.recv(1) == READY
        if not self._is_ready:
            self._is_broken = True
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_MARGIN_SECONDS)  # its end of the connection closes a moment before it has ended
            if self._process.returncode in (None, *_FROM_OUTSIDE):
                raise SandboxKilledError(_KILLED)
            raise RunError("a sandbox process could not be started")

    def call(self, call: Call, seconds: float) -> Any:
        """Return the result of a call.

        Args:
            call: The function and its arguments.
            seconds: Time limit.

        Raises:
            SandboxDiedError: The process crashed, used too much memory or sent something else than an answer.
            SandboxKilledError: The process, or the fork server, was killed from outside.
            SandboxTimeoutError: The call took too long.
            Exception: The error that the function raised.
        """
        with packed(call) as (data, files):
            try:
                answer, status = self._exchange(data, files, seconds)
            except (OSError, EOFError):
                self._is_broken = True
                raise SandboxKilledError(_KILLED) from None
        if status is not None:
            raise _error_of(status, seconds)
        return _decoded(call[0], answer)

    def kill(self) -> None:
        """End the fork server and the process that it has made, at once and by force if necessary."""
        if self._is_ready:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._control.shutdown(socket.SHUT_RDWR)  # upon which it kills and reaps its process
                self._process.wait(_MARGIN_SECONDS)
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Kill the fork server and close the connection to it."""
        self.kill()
        self._control.close()

    def _exchange(self, data: bytes, files: list[int], seconds: float) -> tuple[bytes, int | None]:
        """Send a call; return its answer, or the status of a process that sent none."""
        if self._owes_status:
            self._status(_MARGIN_SECONDS)
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb", 0):
            try:
                self._control.settimeout(_MARGIN_SECONDS)
                Request(seconds, data, (writer, *files)).send(self._control)
            finally:
                os.close(writer)
            deadline = time.monotonic() + seconds + _MARGIN_SECONDS
            answer = _read_answer(reader, deadline)
        self._owes_status = True
        # Without an answer, the process is left to its end, whose kind matters.
        status = None if answer else self._status(max(0.0, deadline - time.monotonic()) + _MARGIN_SECONDS)
        self._control.sendall(DONE)
        return answer, status

    def _status(self, seconds: float) -> int:
        """Read the status of the latest call; raise EOFError if the fork server has died."""
        self._control.settimeout(seconds)
        status = self._control.recv(STATUS.size)
        if not status:
            raise EOFError
        self._owes_status = False
        return int(STATUS.unpack(status)[0])


def _read_answer(reader: int, deadline: float) -> bytes:
    """Read until the process closes its end, a little more than `MAX_BYTES` at most; nothing if it is late."""
    answer = bytearray()
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        block = os.read(reader, _BLOCK)
        answer += block
        if not block or len(answer) > MAX_BYTES:
            return bytes(answer)
    return b""


def _decoded(function: Callable[..., Any], answer: bytes) -> Any:
    try:
        return decode(function, answer)
    except MemoryError:
        raise SandboxDiedError("reading the file needs more memory than is allowed") from None
    except MalformedAnswerError as error:
        raise SandboxDiedError(f"the process that read the file sent no valid answer: {error}") from None


def _error_of(status: int, seconds: float) -> ServiceError:
    """Return why a process has sent no answer."""
    if status in (TIMED_OUT, -signal.SIGXCPU):
        return SandboxTimeoutError(f"reading the file took more than {seconds:g} s and was stopped")
    if status in _FROM_OUTSIDE:
        return SandboxKilledError(_KILLED)
    if status == NOT_CONFINED:
        return RunError("the process that reads files could not be confined")
    return SandboxDiedError("the process that read the file died; the file is damaged or needs too much memory")
