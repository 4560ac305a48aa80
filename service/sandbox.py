"""Runs functions on files that nobody vouches for in a process of its own, which may die without harm.

Whatever decodes an upload (probing, drawing an overlay) goes through here; the API process itself decodes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from service.errors import ServiceError

Args = ParamSpec("Args")
Result = TypeVar("Result")


class SandboxDiedError(ServiceError):
    """The process died while it looked at the file: damaged on purpose, or too large for the memory allowed."""


class SandboxTimeoutError(ServiceError):
    """Looking at the file took too long."""


class Sandbox:
    """A few warm, spawned processes that import no torch.

    Args:
        processes: Calls that may run at the same time; further ones wait.
        timeout: Most seconds of a call.
        memory_bytes: Most address space of a process; None: any.
    """

    def __init__(self, processes: int = 2, *, timeout: float = 30.0, memory_bytes: int | None = 4 << 30) -> None:
        raise NotImplementedError

    def call(
        self,
        function: Callable[Args, Result],
        /,
        *args: Args.args,
        **kwargs: Args.kwargs,
    ) -> Result:
        """Call a module-level function there; it blocks until the result is there.

        Raises:
            SandboxDiedError: The process died or ran out of memory.
            SandboxTimeoutError: It took too long and was killed.
            Exception: What the function raised.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the processes."""
