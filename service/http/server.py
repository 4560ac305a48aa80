"""Runs the application on a socket: uvicorn, with streams that end when the service is told to stop."""

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

_FAREWELL_SECONDS = 5
"""How long requests have to end, after the signal to stop."""


class _Server(uvicorn.Server):
    """Tells the streams that it is going to stop: uvicorn waits for them to end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once the application has started."""
        await super().startup(sockets)
        collect_rarely()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called for SIGINT and SIGTERM."""
        services: Services | None = getattr(self._app.state, "services", None)
        if services is not None:
            services.watcher.close_soon()
        super().handle_exit(sig, frame)


def listen(settings: Settings) -> tuple[socket.socket, str]:
    """A socket that listens where the settings say, and its address as an URL.

    Raises:
        UsageError: The address is not this machine's, or taken.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it every answer takes 40 ms more.
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
    """Serve until SIGINT or SIGTERM; requests have a moment to end, running jobs `grace_seconds` to be put back.

    Raises:
        RunError: The service could not start; the log says why.
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
        timeout_graceful_shutdown=_FAREWELL_SECONDS + math.ceil(settings.grace_seconds),
    )
    server = _Server(config, app)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal again for whoever handled it before; stopping on request is no failure.
        signal.signal(number, lambda *_: None)
    try:
        with listening:
            server.run(sockets=[listening])
    finally:
        # After a second Ctrl-C uvicorn leaves without the application's own end; a thread that waits for a sandbox
        # would keep the process alive.
        services: Services | None = getattr(app.state, "services", None)
        if services is not None:
            services.end_sandboxes()
    if not server.started:
        raise RunError("the service could not start; the log above says why")
