"""The sandbox returns results and errors, whatever happens to its process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from codec.errors import BrokenStreamError
from service.errors import RunError
from service.sandbox.handles import Input, Output, OutputFile, opened_input, opened_output
from service.sandbox.pool import (
    Sandbox,
    SandboxClosedError,
    SandboxDiedError,
    SandboxKilledError,
    SandboxTimeoutError,
)
from service.sandbox.sandbox_process import SandboxProcess
from tests.support.fakes import inject_fault
from tests.support.waiting import wait_for

MODULES = (__name__, "tests.support.fakes")


class LocalError(Exception):
    """An error of a class that answers may not name."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def double(number: int, *, plus: int = 0) -> int:
    """Return twice the number, plus an offset."""
    return 2 * number + plus


def process_ids() -> tuple[int, int]:
    """Return the ids of the process and its parent."""
    return os.getpid(), os.getppid()


def fail(kind: str) -> None:
    """Raise an error of this kind."""
    raise {"codec": BrokenStreamError("it broke", 7), "local": LocalError("a", "b"), "value": ValueError("no")}[kind]


def fill_memory() -> int:
    """Allocate more memory than any sandbox allows."""
    return len(bytearray(1 << 40))


def has_torch() -> bool:
    """Return whether the process has imported torch."""
    import sys

    return "torch" in sys.modules


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Sandbox with one process."""
    sandbox = Sandbox(1, timeout=60, modules=MODULES)
    yield sandbox
    sandbox.close()


def test_each_call_has_a_process_of_its_own(sandbox: Sandbox) -> None:
    """All are made by one warm server, which has a single thread, and none imports torch."""
    assert sandbox.call(double, 4, plus=1) == 9
    first, second = sandbox.call(process_ids), sandbox.call(process_ids)
    assert first[0] != second[0]
    assert first[1] == second[1] != os.getpid()
    assert len(list(Path(f"/proc/{first[1]}/task").iterdir())) == 1  # others would keep their access to files
    assert not sandbox.call(has_torch)


def test_errors_are_raised_unchanged(sandbox: Sandbox) -> None:
    """An error keeps its type and attributes; one of an unknown class becomes a `RunError` with its message."""
    with pytest.raises(BrokenStreamError, match="it broke") as caught:
        sandbox.call(fail, "codec")
    assert caught.value.frames == 7
    with pytest.raises(ValueError, match="no"):
        sandbox.call(fail, "value")
    with pytest.raises(RunError, match="ab"):
        sandbox.call(fail, "local")


@pytest.mark.parametrize("kind", ["segfault", "abort", "exit"])
def test_a_crash_fails_only_its_own_call(sandbox: Sandbox, kind: str) -> None:
    """A call whose process crashes raises an error, and the next call works."""
    with pytest.raises(SandboxDiedError):
        sandbox.call(inject_fault, kind)
    assert sandbox.call(double, 1) == 2


def test_too_much_memory_is_an_error(sandbox: Sandbox) -> None:
    """An allocation beyond the limit fails in the sandbox."""
    with pytest.raises(SandboxDiedError, match="memory"):
        sandbox.call(fill_memory)
    assert sandbox.call(double, 1) == 2


def test_a_call_that_takes_too_long_is_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    """Its process is gone, and the server that made it answers the next call."""
    _, server = sandbox.call(process_ids)
    begun = tmp_path / "begun"
    with pytest.raises(SandboxTimeoutError, match="more than 2 s"):
        sandbox.call_within(2, stay, Output(begun))
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text().split()[0]), 0)
    assert sandbox.call(process_ids)[1] == server


@pytest.mark.parametrize(("whom", "number"), [("process", signal.SIGKILL), ("server", signal.SIGTERM)])
def test_what_is_killed_from_outside_is_tried_once_more(
    sandbox: Sandbox, tmp_path: Path, whom: str, number: signal.Signals
) -> None:
    """As the kernel does without memory, or the end of all processes of the service."""
    begun, attempt = tmp_path / "begun", tmp_path / "attempt"
    with ThreadPoolExecutor(1) as pool:
        attempt.write_text("1")
        call = pool.submit(sandbox.call, stay_once, Output(begun), attempt)
        wait_for(lambda: begun.exists() and begun.read_text())
        attempt.write_text("2")
        kill_when_begun(begun, whom, number)
        assert call.result(60) == "done"
        begun.unlink()
        call = pool.submit(sandbox.call, stay, Output(begun))
        kill_when_begun(begun, whom, number)
        kill_when_begun(begun, whom, number)
        with pytest.raises(SandboxKilledError, match="try again"):
            call.result(60)
    assert sandbox.call(double, 1) == 2


@pytest.mark.parametrize("killed", [1, 2])
def test_a_process_that_is_killed_while_it_starts_is_tried_once_more(
    monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    """Before it is ready, too, an end from outside says nothing about the call."""
    started = []
    wait = SandboxProcess.wait_until_ready

    def kill_first(process: SandboxProcess) -> None:
        started.append(process)
        if len(started) <= killed:
            os.killpg(process._process.pid, signal.SIGKILL)
        wait(process)

    monkeypatch.setattr(SandboxProcess, "wait_until_ready", kill_first)
    sandbox = Sandbox(1, timeout=60, modules=MODULES)
    try:
        if killed == 1:
            assert sandbox.call(double, 1) == 2
        else:
            with pytest.raises(SandboxKilledError, match="try again"):
                sandbox.call(double, 1)
    finally:
        sandbox.close()
    assert len(started) == 2


def test_calls_wait_for_a_free_process(sandbox: Sandbox) -> None:
    """With more callers than processes, every caller gets its own answer."""
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda i: sandbox.call(double, i), range(20))) == [2 * i for i in range(20)]


def test_closing_fails_all_calls(tmp_path: Path) -> None:
    """A running call, a waiting call and a later call all fail, and no process is left."""
    sandbox = Sandbox(1, timeout=3600, modules=MODULES)
    begun = tmp_path / "begun"
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(sandbox.call, stay, Output(begun)) for _ in range(2)]
        process = int(wait_for(lambda: begun.exists() and begun.read_text()).split()[0])
        sandbox.close()
        for call in calls:
            with pytest.raises(SandboxClosedError, match="shutting down"):
                call.result(240)
    with pytest.raises(SandboxClosedError):
        sandbox.call(process_ids)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    sandbox.close()


def stay(file: OutputFile) -> None:
    """Write the ids of the process and its parent to a file, then sleep."""
    with opened_output(file) as out:
        out.write(f"{os.getpid()} {os.getppid()}".encode())
        out.flush()
        time.sleep(3600)


def stay_once(file: OutputFile, attempt: Input) -> str:
    """Do as `stay` unless the other file says that this is the second attempt."""
    with opened_input(attempt) as given:
        if given.read() == b"1":
            stay(file)
    return "done"


def kill_when_begun(begun: Path, whom: str, number: signal.Signals) -> None:
    """Wait until `stay` has written its file, remove the file, and send a signal."""
    process, server = wait_for(lambda: begun.exists() and begun.read_text().split())
    begun.unlink()
    os.kill(int(process if whom == "process" else server), number)


def test_closing_kills_a_process_that_is_starting() -> None:
    """`close` does not wait for the process to become ready."""
    sandbox = Sandbox(1, timeout=3600)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(sandbox.warm_up)
        wait_for(lambda: sandbox._alive)
        (child,) = sandbox._alive
        sandbox.close()
        assert not child.is_usable
        with suppress(SandboxClosedError):  # unless the call was faster
            call.result(240)
