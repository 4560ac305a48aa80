"""Serves the application on a socket with uvicorn; streams end when the service is told to stop."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from service.config import Settings
from service.errors import RunError, UsageError
from service.http.context import Services
from service.http.limits.connections import Connection, Connections, connection_limit
from service.http.limits.listening_socket import ACCEPTED_PER_TURN, ListeningSocket
from service.runtime.processes import collect_rarely, share_memory_among_threads

_DRAIN_SECONDS = 5
"""Time that requests have to end after the signal to stop."""


class HttpServer(uvicorn.Server):
    """Serves an application over bounded connections, and ends its streams at the signal to stop.

    Args:
        app: The application.
        settings: Its settings.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        connections = Connections(connection_limit(settings.max_connections))
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                http=cast("type[asyncio.Protocol]", partial(Connection, connections=connections)),
                loop="asyncio",
                backlog=ACCEPTED_PER_TURN,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_DRAIN_SECONDS + math.ceil(settings.grace_seconds),
            )
        )
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGINT and SIGTERM."""
        services: Services | None = getattr(self._app.state, "services", None)
        if services is not None:
            services.watcher.close_soon()
        super().handle_exit(sig, frame)


class _ServerProcess(HttpServer):
    """Has the process to itself."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, once the application has started."""
        await super().startup(sockets)
        collect_rarely()


def listen(settings: Settings) -> tuple[socket.socket, str]:
    """Listen on the address of the settings; return the socket and its URL.

    Raises:
        UsageError: The address is in use or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = ListeningSocket(family)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UsageError(f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}") from None
    host = f"[{settings.host}]" if family == socket.AF_INET6 else settings.host
    return listening, f"http://{host}:{listening.getsockname()[1]}"


def run_server(app: FastAPI, listening: socket.socket, settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Then requests have a few seconds to end, and running jobs `grace_seconds`.

    Raises:
        RunError: The service could not start; the log has the reason.
    """
    share_memory_among_threads()
    server = _ServerProcess(app, settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal again for the handler before its own; stopping on request is not a failure.
        signal.signal(number, lambda *_: None)
    try:
        with listening:
            server.run(sockets=[listening])
    finally:
        # After a second Ctrl-C uvicorn returns without shutting the application down; a thread that waits for a
        # sandbox would keep the process alive.
        services: Services | None = getattr(app.state, "services", None)
        if services is not None:
            services.close_pools()
    if not server.started:
        raise RunError("the service could not start; the log above has the reason")
