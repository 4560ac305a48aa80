"""Sending requests, with retries, for both clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self

import httpx

from keymask.errors import problem_of, translated
from keymask.models import Job
from keymask.protocol import Call, parsed
from keymask.sending.retry import FOLLOW_SECONDS, Retry


class Sender:
    """What `Client` sends its calls with."""

    _http: httpx.Client
    _timeout: float
    _retries: int

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _job(self, call: Call, retry: Retry | None = None) -> Job:
        return self._bound(parsed(Job, self._send(call, retry)))

    def _bound(self, job: Job) -> Job:
        """Let the methods of a job call this client."""
        job._client = self
        return job

    def _send(self, call: Call, retry: Retry | None = None) -> httpx.Response:
        """Send a call and return the response, read to its end."""
        retry = retry or Retry(self._retries)
        with self._open(call, retry, read=True) as response:
            retry.succeeded()
            return response

    def _following(self, timeout: float | None = None) -> Retry:
        """Return the retry policy of calls that follow a job, which outlast a restart of the service."""
        return Retry(self._retries, FOLLOW_SECONDS if timeout is None else min(timeout, FOLLOW_SECONDS))

    @contextmanager
    def _open(self, call: Call, retry: Retry, *, read: bool = False) -> Iterator[httpx.Response]:
        """Send a call and yield the response; `read` reads its body before."""
        while True:
            try:
                with translated(call.path), call.arguments(self._timeout) as arguments:
                    response = self._http.send(self._http.build_request(**arguments), stream=not read)
            except httpx.TransportError as error:
                time.sleep(retry.after_failure(error))
                continue
            delay = retry.after_answer(response)
            if delay is None:
                break
            response.close()
            time.sleep(delay)
        try:
            with translated(call.path):
                if not response.is_success:
                    response.read()
                    raise problem_of(response)
                yield response
        finally:
            response.close()


class AsyncSender:
    """What `AsyncClient` sends its calls with."""

    _http: httpx.AsyncClient
    _timeout: float
    _retries: int

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _job(self, call: Call, retry: Retry | None = None) -> Job:
        return parsed(Job, await self._send(call, retry))

    async def _send(self, call: Call, retry: Retry | None = None) -> httpx.Response:
        """Send a call and return the response, read to its end."""
        retry = retry or Retry(self._retries)
        async with self._open(call, retry, read=True) as response:
            retry.succeeded()
            return response

    def _following(self, timeout: float | None = None) -> Retry:
        """Return the retry policy of calls that follow a job, which outlast a restart of the service."""
        return Retry(self._retries, FOLLOW_SECONDS if timeout is None else min(timeout, FOLLOW_SECONDS))

    @asynccontextmanager
    async def _open(self, call: Call, retry: Retry, *, read: bool = False) -> AsyncIterator[httpx.Response]:
        """Send a call and yield the response; `read` reads its body before."""
        while True:
            try:
                with translated(call.path), call.arguments(self._timeout) as arguments:
                    response = await self._http.send(self._http.build_request(**arguments), stream=not read)
            except httpx.TransportError as error:
                await asyncio.sleep(retry.after_failure(error))
                continue
            delay = retry.after_answer(response)
            if delay is None:
                break
            await response.aclose()
            await asyncio.sleep(delay)
        try:
            with translated(call.path):
                if not response.is_success:
                    await response.aread()
                    raise problem_of(response)
                yield response
        finally:
            await response.aclose()
