"""The sandbox returns results and errors, whatever happens to its process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from codec.errors import BrokenStreamError
from service.errors import RunError
from service.sandbox.pool import Sandbox, SandboxClosedError, SandboxDiedError, SandboxTimeoutError
from tests.support.fakes import inject_fault
from tests.support.waiting import wait_for


class LocalError(Exception):
    """An error with two arguments, which pickle cannot restore from its message."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def double(number: int, *, plus: int = 0) -> int:
    """Return twice the number, plus an offset."""
    return 2 * number + plus


def process_id() -> int:
    """Return the id of the process."""
    return os.getpid()


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
    sandbox = Sandbox(1, timeout=60)
    yield sandbox
    sandbox.close()


def test_calls_run_in_one_warm_process(sandbox: Sandbox) -> None:
    """The same process answers every call, and it does not import torch."""
    assert sandbox.call(double, 4, plus=1) == 9
    first = sandbox.call(process_id)
    assert first != os.getpid()
    assert sandbox.call(process_id) == first
    assert not sandbox.call(has_torch)


def test_errors_are_raised_unchanged(sandbox: Sandbox) -> None:
    """An error keeps its type and attributes; one that cannot be pickled becomes a `RunError` with its message."""
    with pytest.raises(BrokenStreamError, match="it broke") as caught:
        sandbox.call(fail, "codec")
    assert caught.value.frames == 7
    with pytest.raises(ValueError, match="no"):
        sandbox.call(fail, "value")
    with pytest.raises(RunError, match="ab"):
        sandbox.call(fail, "local")


@pytest.mark.parametrize("kind", ["segfault", "kill", "exit"])
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


def test_a_call_that_takes_too_long_is_killed(sandbox: Sandbox) -> None:
    """Its process is gone, and the next call uses a new one."""
    before = sandbox.call(process_id)
    with pytest.raises(SandboxTimeoutError, match=r"more than 0\.2 s"):
        sandbox.call_within(0.2, time.sleep, 60)
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
    assert sandbox.call(double, 1) == 2


def test_calls_wait_for_a_free_process(sandbox: Sandbox) -> None:
    """With more callers than processes, every caller gets its own answer."""
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda i: sandbox.call(double, i), range(20))) == [2 * i for i in range(20)]


def test_closing_fails_all_calls(tmp_path: Path) -> None:
    """A running call, a waiting call and a later call all fail, and no process is left."""
    sandbox = Sandbox(1, timeout=3600)
    begun = tmp_path / "begun"
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(sandbox.call, stay, begun) for _ in range(2)]
        process = int(wait_for(lambda: begun.exists() and begun.read_text()))
        sandbox.close()
        for call in calls:
            with pytest.raises(SandboxClosedError, match="shutting down"):
                call.result(240)
    with pytest.raises(SandboxClosedError):
        sandbox.call(process_id)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    sandbox.close()


def stay(path: Path) -> None:
    """Write the id of the process to a file, then sleep."""
    part = path.with_suffix(".part")
    part.write_text(str(os.getpid()))
    part.rename(path)
    time.sleep(3600)


def test_closing_kills_a_process_that_is_starting() -> None:
    """`close` does not wait for the process to become ready."""
    sandbox = Sandbox(1, timeout=3600)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(sandbox.warm_up)
        wait_for(lambda: sandbox._alive)
        (child,) = sandbox._alive
        sandbox.close()
        assert not child.process.is_alive()
        with suppress(SandboxClosedError):  # unless the call was faster
            call.result(240)
