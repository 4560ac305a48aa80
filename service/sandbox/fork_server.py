"""The process that makes a fresh, confined process for each call on untrusted files.

It has imported the decoders, so a new process costs a fork instead of seconds, and the next one is made in advance. It
reads nothing but the requests of its parent, so a hostile file can take over one call and never the next.

For each request it sends one status: the exit code of the process, in which a negative number is the signal that ended
it, or `TIMED_OUT`. The answer itself goes from the process to the caller, through a pipe of its own. The caller sends
`DONE` when it needs the process no longer.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from service.sandbox.answers import encode_error, encode_result
from service.sandbox.confinement import (
    ProcessLimits,
    close_file_system,
    confine_call,
    end_with_parent,
    give_up_privileges,
    limit_formats,
    limit_processor_time,
)
from service.sandbox.handles import unpacked

READY, DONE = b"r", b"d"
STATUS = struct.Struct("=i")
TIMED_OUT = 1000
NOT_CONFINED = 99
"""Exit code of a process that the kernel did not let give up its rights."""
_HEAD = struct.Struct("=dIQ")
"""Seconds for the call, number of descriptors, bytes of the call."""
_BATCH = 200
"""Most descriptors per message; the kernel allows 253."""
_SAMPLE = Path(__file__).parent.parent / "sample"
_PRELOADED = (
    "service.sandbox.inspection",
    "service.sandbox.export",
    "service.sandbox.marking",
    "service.sandbox.drawing",
    "service.sandbox.frames",
    "service.sandbox.frame_analysis",
)


@dataclass(frozen=True, slots=True)
class Request:
    """One call.

    Attributes:
        seconds: Time limit of the call.
        call: What `service.sandbox.handles.packed` has made of it.
        descriptors: Where to write the answer, then the files of the call.
    """

    seconds: float
    call: bytes
    descriptors: tuple[int, ...]

    def send(self, connection: socket.socket) -> None:
        """Send the request.

        Raises:
            OSError: The other end is closed.
        """
        head = _HEAD.pack(self.seconds, len(self.descriptors), len(self.call))
        for start in range(0, len(self.descriptors), _BATCH):
            socket.send_fds(connection, [b"f" if start else head], self.descriptors[start : start + _BATCH])
        connection.sendall(self.call)


def receive_request(connection: socket.socket) -> Request | None:
    """Receive a request; None if the other end is closed."""
    head, descriptors, _, _ = socket.recv_fds(connection, _HEAD.size, _BATCH)
    if not head:
        return None
    seconds, count, length = _HEAD.unpack(head)
    while len(descriptors) < count:
        descriptors += socket.recv_fds(connection, 1, _BATCH)[1]
    call = bytearray()
    while len(call) < length and (block := connection.recv(min(length - len(call), 1 << 20))):
        call += block
    return Request(seconds, bytes(call), tuple(descriptors))


def start(descriptor: int, limits: dict[str, Any], modules: list[str]) -> None:
    """Answer requests until the other end of the socket closes.

    Args:
        descriptor: The socket.
        limits: Values of the `ProcessLimits` of each process.
        modules: Modules to import beside those of this package.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    give_up_privileges()
    for name in (*_PRELOADED, *modules):
        import_module(name)
    use_decoders()
    close_file_system()
    limit_formats(limits["max_pixels"])
    gc.collect()
    gc.freeze()  # a collection would write to every object, and so copy its memory in each new process
    # A parent that is killed resets the connection.
    with suppress(ConnectionError), socket.socket(fileno=descriptor) as control, _ChildSignal() as ended:
        control.sendall(READY)
        while True:
            with _Child(ProcessLimits(**limits), control, ended) as child:
                request = receive_request(control)
                if request is None:
                    return
                control.sendall(STATUS.pack(child.run(request)))
                if control.recv(1) != DONE:
                    return


def use_decoders() -> None:
    """Inspect the sample, so that what libraries do at their first use does not repeat in each process."""
    from service.run.options import JobOptions  # noqa: PLC0415 - the parent imports this module, too
    from service.sandbox.inspection import UploadLimits, inspect_job  # noqa: PLC0415

    limits = UploadLimits(pixels=1 << 24, frames=1000, seconds=1000.0, objects=255)
    encode_result(inspect_job, inspect_job(_SAMPLE / "clip.mp4", _SAMPLE / "mask.png", JobOptions(), limits))


class _ChildSignal:
    """A descriptor that becomes readable when a child ends."""

    def __enter__(self) -> _ChildSignal:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._read

    def clear(self) -> None:
        """Forget children that have ended."""
        with suppress(BlockingIOError):
            while os.read(self._read, 512):
                pass


class _Child:
    """A confined process that waits for one request. It ends with the block."""

    def __init__(self, limits: ProcessLimits, control: socket.socket, ended: _ChildSignal) -> None:
        ended.clear()
        self._control, self._ended = control, ended
        self._connection, theirs = socket.socketpair()
        parent = os.getpid()
        self._pid: int | None = os.fork()
        if not self._pid:
            try:
                ended.__exit__()
                control.close()
                self._connection.close()
                _serve(theirs, limits, parent)
            finally:
                os._exit(1)
        theirs.close()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()
        self._reap()

    def run(self, request: Request) -> int:
        """Hand over the request and wait for the end of the process, or end it. Return the status."""
        with suppress(OSError):  # it has died before the request; its status says how
            request.send(self._connection)
        for descriptor in request.descriptors:
            os.close(descriptor)
        poll = select.poll()
        poll.register(self._ended.fileno(), select.POLLIN)
        poll.register(self._control.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(request.seconds * 1000)}
        status = self._reap(kill=self._ended.fileno() not in ready)
        return status if ready else TIMED_OUT

    def _reap(self, *, kill: bool = True) -> int:
        if self._pid is None:
            return 0
        pid, self._pid = self._pid, None
        if kill:
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _serve(connection: socket.socket, limits: ProcessLimits, parent: int) -> NoReturn:
    """Answer one request in this process, which ends with it."""
    end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    try:
        confine_call(limits)
    except OSError:
        os._exit(NOT_CONFINED)
    request = receive_request(connection)
    if request is not None:
        limit_processor_time(request.seconds)
        with os.fdopen(request.descriptors[0], "wb") as out:
            out.write(_encoded_answer(request))
    os._exit(0)


def _encoded_answer(request: Request) -> bytes:
    try:
        with unpacked(request.call, request.descriptors[1:]) as (function, args, kwargs):
            return encode_result(function, function(*args, **kwargs))
    except BaseException as error:
        return encode_error(error)
