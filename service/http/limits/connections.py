"""Bounds the connections of the server: their number, and the time until each has sent a whole header.

uvicorn closes connections that are idle after an answer, but waits without end for the header of a request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.http.limits.log_limit import LogLimit
from service.http.problem_responses import problem_response
from service.problems import MEDIA_TYPE, problem_document

HEADER_SECONDS = 15.0
"""Longest time until a connection has sent the whole header of a request, from its start or the header's first byte."""
_SPREAD = 0.2
"""Share of `HEADER_SECONDS` by which deadlines differ. Connections that came together would otherwise end together, and
come back together, which delays all other requests."""
_FILES_PER_CONNECTION = 2
"""The connection, and the file that it receives or sends."""
_OWN_FILES = 512
"""Database, sandboxes, log, and connections that are accepted before the first of them can be counted."""

_log = logging.getLogger(__name__)
_random = random.Random()
"""Of its own: who seeds the one of the process gets its numbers in order."""


class Connections:
    """The open connections of a server.

    Args:
        limit: Largest number. Beyond it, the one that has been without a request for longest is closed; if all have a
            request in progress, the new one is answered with 503.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}
        self._full = LogLimit()

    def add(self, connection: Connection) -> bool:
        """Add a connection; return whether its requests may be served."""
        if len(self._open) >= self._limit:
            if self._full.due():
                _log.warning("too many connections", extra={"limit": self._limit, "unlogged": self._full.unlogged})
            if self._waiting:
                oldest = next(iter(self._waiting))
                self.remove(oldest)
                oldest.transport.abort()
        self._open.add(connection)
        self._waiting[connection] = None
        return len(self._open) <= self._limit

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def is_waiting(self, connection: Connection, waiting: bool) -> None:
        """Note whether an open connection waits for a request; the order is that of the notes."""
        if not waiting:
            self._waiting.pop(connection, None)
        elif connection in self._open:
            self._waiting[connection] = None


class Connection(H11Protocol):
    """One connection: closes without a whole header in time, and answers what is no HTTP with a problem.

    Args:
        connections: All connections of the server.
        arguments: Arguments of uvicorn.
    """

    def __init__(self, *, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._connections = connections
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if not self._connections.add(self):
            self.app = _refuse
        self._wait_for_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.remove(self)
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive a part of a header or of a body."""
        super().data_received(data)
        if self._has_request:
            self._stop_waiting()
            self._connections.is_waiting(self, False)
        elif self._header_timer is None and not self.transport.is_closing():
            self._wait_for_header()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._connections.is_waiting(self, not self._has_request)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, if no answer has begun, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(problem_document("bad-request", f"this is not HTTP/1.1: {msg}")).encode()
            headers = [("content-type", MEDIA_TYPE), ("content-length", str(len(body))), ("connection", "close")]
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def _has_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_header(self) -> None:
        seconds = HEADER_SECONDS * _random.uniform(1 - _SPREAD, 1)
        self._header_timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer any request with 503."""
    response = problem_response("busy", "the service has as many connections as it can hold; try again")
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


def connection_limit(wanted: int) -> int:
    """Return how many connections the process can hold, at most `wanted`; raise its limit of open files if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    needed = _FILES_PER_CONNECTION * wanted + _OWN_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limit = max(16, min(wanted, (soft - _OWN_FILES) // _FILES_PER_CONNECTION))
    if limit < wanted:
        _log.warning(
            "fewer connections than KEYMASK_MAX_CONNECTIONS, because the process may open few files",
            extra={"connections": limit, "wanted": wanted, "files": soft},
        )
    return limit
