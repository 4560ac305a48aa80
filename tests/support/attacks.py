"""What an attacker would try who has taken over a process that decodes files. Each returns what came of it."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from service.sandbox.handles import Input, OutputFile, opened_input, opened_output

ANSWERS = {
    "a pickle": b"cos\nsystem\n(S'touch keymask-was-here'\ntR.",
    "garbage": os.urandom(1000),
    "nothing": b"",
    "half a result": b'+{"frames": ',
    "a result of another type": b'+"a text"',
    "a number of 5,000 digits": b"+" + b"9" * 5000,
    "deep lists": b"+" + b"[" * 100_000,
    "an unknown error": b'-{"kind": "SystemExit", "message": "1"}',
    "an error with a foreign member": b'-{"kind": "ValueError", "message": "1", "__reduce__": 1}',
    "an unknown problem": b'-{"kind": "ProblemError", "message": "1", "problem": "no-such-problem"}',
    "a problem that sets its status": b'-{"kind": "ProblemError", "message": "1", "problem": "no-frames", '
    b'"members": {"status": 200}}',
}
"""What a hostile process may send in place of an answer."""


def attempt(action: Callable[[], object]) -> str:
    """Return the name of the error that an action ends with, or what it has achieved."""
    try:
        return f"done: {action()!r:.80}"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except MemoryError:
        return "MemoryError"


def read(path: str) -> str:
    """Read a file by its name."""
    return attempt(lambda: Path(path).read_bytes())


def list_own_variables() -> list[str]:
    """Return the names of the variables in this process's environment."""
    return sorted(os.environ)


def write(path: str) -> str:
    """Write a file by its name."""
    return attempt(lambda: Path(path).write_bytes(b"x"))


def remove(path: str) -> str:
    """Remove a file by its name."""
    return attempt(lambda: Path(path).unlink())


def connect(port: int) -> str:
    """Connect to a local port."""
    return attempt(lambda: socket.create_connection(("127.0.0.1", port), 5))


def run_program() -> str:
    """Run a program."""
    return attempt(lambda: subprocess.run([sys.executable, "-c", ""], check=True))


def fork() -> str:
    """Make a process."""
    return attempt(os.fork)


def replace_the_program() -> str:
    """Become another program."""
    return attempt(lambda: os.execv("/bin/true", ["true"]))


def signal_the_parent() -> str:
    """Stop the process that made this one."""
    return attempt(lambda: os.kill(os.getppid(), signal.SIGSTOP))


def trace_the_parent() -> str:
    """Attach a debugger to the process that made this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    return "done" if libc.ptrace(16, os.getppid(), 0, 0) == 0 else errno.errorcode[ctypes.get_errno()]


def outlive_the_parent() -> str:
    """Give up the signal at the end of the parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    return "done" if libc.prctl(1, 0, 0, 0, 0) == 0 else errno.errorcode[ctypes.get_errno()]


def allocate(count: int) -> str:
    """Allocate memory and touch it."""
    return attempt(lambda: len(bytearray(count)))


def fill(file: OutputFile, count: int) -> str:
    """Write to the own file."""
    with opened_output(file) as out:
        return attempt(lambda: [out.write(bytes(1 << 20)) and out.flush() for _ in range(count >> 20)])


def raise_limits() -> str:
    """Raise a limit of this process."""
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError:  # Python's translation
        return "EPERM"
    return "done"


def use_up_processor_time() -> None:
    """Work longer than this process may."""
    resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
    while True:
        pass


def read_own(file: Input) -> str:
    """Read the file of the call."""
    with opened_input(file) as opened:
        return opened.read().decode()


def answer_with(kind: str) -> int:
    """Send one of `ANSWERS` through the pipe of the answer, and end."""
    send(ANSWERS[kind])
    os._exit(0)


def answer_without_end() -> int:
    """Send an answer until the other side no longer takes it."""
    while True:
        send(b"+" + b"1" * (1 << 16))


def send(data: bytes) -> None:
    """Write to the pipe of the answer, the only one of this process."""
    pipe = next(number for number in range(3, 64) if _is_pipe(number))
    while data:
        data = data[os.write(pipe, data) :]


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False
