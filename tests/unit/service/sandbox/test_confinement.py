"""A process that a hostile file has taken over can do nothing but fail its own call."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.sandbox.confinement import ProcessLimits, available_confinement
from service.sandbox.handles import Output
from service.sandbox.pool import Sandbox, SandboxDiedError, SandboxTimeoutError
from tests.support import attacks

REFUSED = ("EACCES", "EPERM")
MEMORY, FILE = 1 << 30, 4 << 20


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Sandbox with one process, started by a process that has a password in its environment."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KEYMASK_DATABASE_URL", "postgresql://keymask:password@host/keymask")
        sandbox = Sandbox(1, timeout=60, limits=ProcessLimits(MEMORY, FILE), modules=(attacks.__name__,))
        sandbox.warm_up()
    yield sandbox
    sandbox.close()


@pytest.fixture
def landlock() -> None:
    """Skip where the kernel cannot take files away."""
    if not available_confinement().landlock:
        pytest.skip("this kernel has no Landlock")


@pytest.fixture
def seccomp() -> None:
    """Skip where the kernel cannot refuse system calls."""
    if not available_confinement().seccomp:
        pytest.skip("this kernel has no seccomp filters")


@pytest.mark.usefixtures("landlock")
def test_only_the_files_of_the_call_are_read(sandbox: Sandbox, tmp_path: Path) -> None:
    """Not those of another tenant, and not the environment of the service."""
    own, other = tmp_path / "own", tmp_path / "other"
    own.write_text("mine")
    other.write_text("another tenant's")
    assert sandbox.call(attacks.read_own, own) == "mine"
    for path in (other, "/etc/passwd", f"/proc/{os.getpid()}/environ", "/proc/self/environ", tmp_path):
        assert sandbox.call(attacks.read, str(path)) in REFUSED


def test_nothing_is_written_but_the_files_of_the_call(sandbox: Sandbox, tmp_path: Path) -> None:
    """Neither a new file nor one that exists; nothing is removed."""
    if not available_confinement().is_complete:
        pytest.skip("this kernel has no Landlock or no seccomp filters")
    other = tmp_path / "other"
    other.write_text("another tenant's")
    for action in (attacks.write, attacks.remove):
        assert sandbox.call(action, str(other)) in REFUSED
    assert sandbox.call(attacks.write, str(tmp_path / "new")) in REFUSED
    assert sorted(tmp_path.iterdir()) == [other]
    assert other.read_text() == "another tenant's"


def test_no_password_is_inherited(sandbox: Sandbox) -> None:
    """The process has none of the service's variables."""
    assert not [name for name in sandbox.call(attacks.list_own_variables) if name.startswith("KEYMASK")]


@pytest.mark.usefixtures("seccomp")
def test_nothing_is_connected(sandbox: Sandbox) -> None:
    """A port of this machine that listens gets no connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        assert sandbox.call(attacks.connect, server.getsockname()[1]) in REFUSED
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.usefixtures("seccomp")
@pytest.mark.parametrize(
    "action",
    [
        attacks.run_program,
        attacks.replace_the_program,
        attacks.fork,
        attacks.signal_the_parent,
        attacks.trace_the_parent,
        attacks.outlive_the_parent,
    ],
)
def test_no_other_process_is_made_or_reached(sandbox: Sandbox, action: Callable[[], str]) -> None:
    """No program, no fork bomb, no signal, no debugger."""
    assert sandbox.call(action) in REFUSED


def test_memory_is_bounded(sandbox: Sandbox) -> None:
    """An allocation beyond the limit fails, one below it does not."""
    assert sandbox.call(attacks.allocate, MEMORY) == "MemoryError"
    assert sandbox.call(attacks.allocate, 64 << 20).startswith("done")


def test_files_are_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    """The own file grows to the limit and no further, and the limit cannot be raised."""
    assert sandbox.call(attacks.fill, Output(tmp_path / "own"), 2 * FILE) == "EFBIG"
    assert (tmp_path / "own").stat().st_size == FILE
    assert sandbox.call(attacks.raise_limits) in REFUSED


def test_processor_time_is_bounded(sandbox: Sandbox) -> None:
    """Using it up is reported like a call that takes too long."""
    with pytest.raises(SandboxTimeoutError):
        sandbox.call(attacks.use_up_processor_time)


@pytest.mark.parametrize("kind", attacks.ANSWERS)
def test_hostile_answers_are_refused(
    sandbox: Sandbox, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that a process sends runs in its parent, and the next call works."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SandboxDiedError):
        sandbox.call(attacks.answer_with, kind)
    assert sandbox.call(attacks.list_own_variables)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_without_end_is_cut(sandbox: Sandbox) -> None:
    """The parent reads a bounded number of bytes, and kills the process."""
    with pytest.raises(SandboxDiedError, match="more than"):
        sandbox.call(attacks.answer_without_end)
