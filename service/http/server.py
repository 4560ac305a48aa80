"""Serves the application on a socket with uvicorn; streams end when the service is told to stop."""

from __future__ import annotations

import math
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.config import Settings
from service.errors import RunError, UsageError
from service.http.context import Services
from service.processes import collect_rarely, share_memory_among_threads

_DRAIN_SECONDS = 5
"""Time that requests have to end after the signal to stop."""


class _Server(uvicorn.Server):
    """Ends the streams at the signal to stop, because uvicorn waits for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, once the application has started."""
        await super().startup(sockets)
        collect_rarely()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGINT and SIGTERM."""
        services: Services | None = getattr(self._app.state, "services", None)
        if services is not None:
            services.watcher.close_soon()
        super().handle_exit(sig, frame)


def listen(settings: Settings) -> tuple[socket.socket, str]:
    """Listen on the address of the settings; return the socket and its URL.

    Raises:
        UsageError: The address is in use or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio disables Nagle's algorithm only if the protocol is named; with it every answer takes 40 ms longer.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(2048)
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
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        http="h11",
        loop="asyncio",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_DRAIN_SECONDS + math.ceil(settings.grace_seconds),
    )
    server = _Server(config, app)
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
