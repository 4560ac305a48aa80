"""Servers on a real socket that break off: one sends what a test wrote, one forwards to a service and cuts."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_HEAD_END = b"\r\n\r\n"
_SECONDS = 30.0

Answer = Callable[[bytes], bytes]
"""Takes the bytes of a request, and returns what is sent before the connection is closed."""


@dataclass
class RawServer:
    """A server.

    Attributes:
        address: "http://127.0.0.1:<port>", or https.
        requests: The heads of the requests so far.
    """

    address: str
    requests: list[str] = field(default_factory=list)


@contextmanager
def raw_server(*answers: bytes | Answer, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Answer one request per connection with the next answer, and all further ones with the last."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = RawServer(f"http{'s' if tls else ''}://127.0.0.1:{listening.getsockname()[1]}")

        def serve(connection: socket.socket) -> None:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                request = _read_request(connection)
                if not request:
                    return
                server.requests.append(request.partition(_HEAD_END)[0].decode())
                answer = answers[min(len(server.requests), len(answers)) - 1]
                connection.sendall(answer(request) if callable(answer) else answer)

        with _serving(listening, serve):
            yield server


@contextmanager
def cutting_proxy(address: str, limits: list[int]) -> Iterator[str]:
    """Forward to a service; close the n-th connection after `limits[n]` bytes of its answer. Yield the address."""
    host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
    left = list(limits)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection:
                request = _read_request(connection)
                if not request:
                    return
                with socket.create_connection((host, int(port)), timeout=_SECONDS) as service:
                    service.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                    answer = b"".join(iter(lambda: service.recv(1 << 16), b""))
                connection.sendall(answer[: left.pop(0) if left else None])

        with _serving(listening, serve):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def _serving(listening: socket.socket, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    stopped = threading.Event()

    def accept() -> None:
        while not stopped.is_set():
            with suppress(OSError):
                connection, _ = listening.accept()
                connection.settimeout(_SECONDS)
                serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        with suppress(OSError), socket.create_connection(listening.getsockname()):
            pass
        thread.join(_SECONDS)


def _read_request(connection: socket.socket) -> bytes:
    """Read a request whose body, if it has one, has a Content-Length."""
    request = b""
    while _HEAD_END not in request and (block := connection.recv(1 << 16)):
        request += block
    head, _, body = request.partition(_HEAD_END)
    length = next((int(row[15:]) for row in head.split(b"\r\n") if row.lower().startswith(b"content-length:")), 0)
    while len(body) < length and (block := connection.recv(1 << 16)):
        body += block
        request += block
    return request
