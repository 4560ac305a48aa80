"""Object stores for tests: S3 of moto in a process of its own, and storages over all kinds of stores."""

from __future__ import annotations

import http.client
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from obstore.store import LocalStore, MemoryStore, S3Store

from service.storage.job_files import Storage
from service.storage.objects.job_objects import JobObjects
from service.storage.objects.object_storage import ObjectStorage
from service.storage.objects.object_store import ObjectStore
from tests.support.paths import ROOT
from tests.support.waiting import wait_for

BUCKET = "bucket"


@dataclass(frozen=True)
class S3Server:
    """A server that speaks the protocol of S3.

    Attributes:
        port: The port on which it, or a proxy before it, listens.
    """

    port: int

    @property
    def variables(self) -> Mapping[str, str]:
        """What a process needs in its environment to use the server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def open(self, prefix: str, retries: int = 0) -> ObjectStore:
        """Open the objects below a prefix."""
        backend = S3Store(
            BUCKET,
            prefix=prefix,
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key_id="test",
            secret_access_key="test",
            region="us-east-1",
            config={"checksum_algorithm": "SHA256"},
            client_options={"allow_http": True, "timeout": timedelta(seconds=30)},
            retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=5)},
        )
        return ObjectStore(backend)


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run moto's server with an empty bucket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is not None or _make_bucket(port))
        assert process.poll() is None, "moto's server has ended"
        yield S3Server(port)
    finally:
        process.kill()
        process.wait()


def _make_bucket(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with suppress(OSError, http.client.HTTPException), closing(connection):
        connection.request("PUT", f"/{BUCKET}")
        return connection.getresponse().status == 200
    return False


@dataclass
class Storages:
    """Storages of several machines over one store.

    Attributes:
        kind: "folder", "memory", "local" or "s3".
        folder: A folder for them.
        objects: The objects; None for a shared folder.
        opened: Storages of machines so far.
    """

    kind: str
    folder: Path
    objects: ObjectStore | None
    opened: list[Storage] = field(default_factory=list)

    def machine(self, name: str, **limits: Any) -> Storage:
        """Open the storage of a machine."""
        limits = {"reserve": 0, **limits}
        if self.objects is None:
            storage = Storage(self.folder / "shared", **limits)
        else:
            storage = ObjectStorage(self.folder / name, JobObjects(self.objects), **limits)
        self.opened.append(storage)
        return storage

    def close(self) -> None:
        """Close the storages of all machines."""
        while self.opened:
            self.opened.pop().close()


def storages(kind: str, folder: Path, server: S3Server | None = None) -> Storages:
    """Make a store of a kind, which is empty."""
    match kind:
        case "folder":
            return Storages(kind, folder, None)
        case "memory":
            return Storages(kind, folder, ObjectStore(MemoryStore()))
        case "local":
            return Storages(
                kind, folder, ObjectStore(LocalStore(folder / "objects", mkdir=True, automatic_cleanup=True))
            )
    assert server is not None
    return Storages(kind, folder, server.open(f"tests/{secrets.token_hex(4)}"))


class SwitchedProxy:
    """Passes connections on to a port of this machine, or refuses them, as a server that is away and back does.

    Attributes:
        port: The port that the proxy listens on.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._on = True
        self._open: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def switch(self, on: bool) -> None:
        """Pass connections on from now on, or cut all and refuse new ones."""
        self._on = on
        if not on:
            for connection in [end for ends in list(self._open) for end in ends]:
                _cut(connection)

    def close(self) -> None:
        """End the proxy."""
        self.switch(False)
        _cut(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            self._open.add((client, server))
            try:
                if self._on:
                    back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                    back.start()
                    _pass_on(client, server)
                    back.join()
            finally:
                self._open.discard((client, server))


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
