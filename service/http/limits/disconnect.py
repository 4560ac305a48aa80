"""Ends the wait of a client that has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import anyio
from starlette.requests import Request

from service.problems import ProblemError

Result = TypeVar("Result")


async def while_connected(request: Request, call: Awaitable[Result]) -> Result:
    """Await a call, and cancel it if the client disconnects. A thread that the call runs in ends first.

    Args:
        request: The request; its body has been read.
        call: The call.

    Raises:
        ProblemError: `upload-interrupted`; nobody will read it.
    """
    with anyio.CancelScope() as scope:
        watch = asyncio.create_task(_cancel_when_gone(request, scope))
        try:
            return await call
        finally:
            watch.cancel()
    raise ProblemError("upload-interrupted", "the client closed the connection before the answer")


async def _cancel_when_gone(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
