"""Both clients against a scripted service."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import httpx
import keymask.async_client
import keymask.client
import keymask.sending.retry
import pytest
from keymask import AsyncClient, Client

from tests.support.scripted_service import Clock, Run, Script

_OF_CLIENT = {"api_key", "retries", "verify", "cert", "proxy"}
"""Arguments of a client, not of its methods."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of both clients."""
    clock = Clock()
    monkeypatch.setattr(keymask.client.time, "sleep", clock.pause)
    monkeypatch.setattr(keymask.async_client.asyncio, "sleep", clock.pause_async)
    monkeypatch.setattr(keymask.sending.retry, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest, clock: Clock) -> Run:
    """Call a method of either client against a script, or against the service at `url`.

    Iterators are returned as lists, pauses take no time.
    """

    def call(script: Script | None, name: str, *args: Any, url: str = "http://test", **kwargs: Any) -> Any:
        own = {key: kwargs.pop(key) for key in _OF_CLIENT & kwargs.keys()}
        if not url.startswith("https"):
            own.setdefault("verify", False)  # loading the authorities takes longer than most tests
        if script is not None:
            own["transport"] = httpx.MockTransport(script)
        if request.param == "sync":
            with Client(url, **own) as client:
                result = getattr(client, name)(*args, **kwargs)
                return list(result) if inspect.isgenerator(result) else result

        async def main() -> Any:
            async with AsyncClient(url, **own) as client:
                result = getattr(client, name)(*args, **kwargs)
                return [item async for item in result] if inspect.isasyncgen(result) else await result

        return asyncio.run(main())

    return call
