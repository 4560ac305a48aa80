"""Connections that send nothing or little, are too many, or do not read: what the server closes, holds and keeps."""

from __future__ import annotations

import hashlib
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.http import multipart
from service.http.limits import connections
from tests.support.media import write_clip, write_mask
from tests.support.paths import ROOT
from tests.support.serving import Served, served
from tests.support.waiting import wait_for

GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
POST = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 9999\r\n\r\n"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("connections"), max_connections=16) as running:
        yield running


def connect(address: httpx.URL | str, *sent: bytes) -> socket.socket:
    """Open a connection and send something."""
    url = httpx.URL(address)
    connection = socket.create_connection((url.host, int(url.port or 80)), timeout=60)
    for part in sent:
        connection.sendall(part)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection that it did not answer."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def answer(connection: socket.socket) -> bytes:
    """Return what arrives until the connection is closed."""
    connection.settimeout(60)
    received = b""
    while part := connection.recv(1 << 16):
        received += part
    return received


def test_a_connection_without_a_whole_header_is_closed(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither silence nor a header that arrives in drops holds a connection; a stream stays open."""
    assert connections.HEADER_SECONDS == 15
    address = service.client.base_url
    with ExitStack() as stack:
        stack.enter_context(service.held())
        path = f"/v1/jobs/{service.post().json()['id']}/events".encode()
        stream = stack.enter_context(connect(address, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        second = stack.enter_context(connect(address, GET + b"\r\n"))
        assert second.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(connections, "HEADER_SECONDS", 0.6)
        silent = stack.enter_context(connect(address))
        dripping = stack.enter_context(connect(address, GET))
        second.sendall(GET)
        began = time.monotonic()
        while not is_closed(dripping):
            assert time.monotonic() - began < 30
            time.sleep(0.05)
            dripping.setblocking(True)
            try:
                dripping.sendall(b"X: y\r\n")
            except ConnectionError:
                break
        wait_for(lambda: is_closed(silent) and is_closed(second))
        assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        assert not is_closed(stream)


@pytest.mark.parametrize(("seconds", "status"), [(0.4, b"400"), (30.0, b"422")])
def test_a_slow_body_is_given_up(
    service: Served, monkeypatch: pytest.MonkeyPatch, seconds: float, status: bytes
) -> None:
    """An upload that falls behind the least rate is refused; one that is slow but not behind is read to its end."""
    assert multipart._BEHIND_SECONDS == 30
    monkeypatch.setattr(multipart, "_BEHIND_SECONDS", seconds)
    body = b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\nx\r\n--b--\r\n'
    head = POST.replace(b"9999", str(len(body)).encode()).replace(
        b"Host: localhost", b"Host: localhost\r\nConnection: close"
    )
    with connect(service.client.base_url, head) as connection:
        for number in range(0, len(body), 8):
            time.sleep(0.1)
            try:
                connection.sendall(body[number : number + 8])
            except ConnectionError:
                break
        received = answer(connection)
    assert received.startswith(b"HTTP/1.1 " + status), received
    assert (b"too slowly" in received) == (status == b"400")


def test_beyond_the_limit_the_oldest_connection_without_a_request_is_closed(service: Served) -> None:
    """Many half-open connections leave room for requests, and for the streams that are open."""
    with ExitStack() as stack:
        stack.enter_context(service.held())
        path = f"/v1/jobs/{service.post().json()['id']}/masks".encode()
        stream = stack.enter_context(
            connect(service.client.base_url, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        )
        assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        half_open = []
        for _ in range(60):
            half_open.append(stack.enter_context(connect(service.client.base_url, GET)))
            time.sleep(0.002)
        with connect(service.client.base_url, GET + b"Connection: close\r\n\r\n") as late:
            assert answer(late).startswith(b"HTTP/1.1 200 ")
        wait_for(lambda: sum(is_closed(one) for one in half_open) >= 60 - 15)
        closed = [is_closed(one) for one in half_open]
        assert closed == sorted(closed, reverse=True)
        assert not is_closed(stream)


def test_without_an_idle_connection_a_new_one_is_answered_with_503(service: Served) -> None:
    """If every connection has a request in progress, a further one is answered 503 with Retry-After."""
    with ExitStack() as stack:
        streams = [stack.enter_context(connect(service.client.base_url, POST)) for _ in range(16)]
        wait_for(lambda: service.services.uploads.taken == 16)
        for _ in range(3):
            with connect(service.client.base_url, GET + b"\r\n") as refused:
                received = answer(refused)
            assert received.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after" in received.lower()
            assert b"/problems/busy" in received
        assert not any(map(is_closed, streams))


@dataclass(frozen=True)
class Rationed:
    """A service in a process of its own that may open 700 files."""

    address: str
    process: subprocess.Popen[str]
    log: Path

    def get(self, path: str) -> int:
        """Return the status of a GET."""
        return httpx.get(self.address + path, timeout=60).status_code


@pytest.fixture(scope="module")
def rationed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rationed]:
    """One such service for both tests."""
    folder = tmp_path_factory.mktemp("rationed")
    command = [sys.executable, "-m", "tests.support.edge_service", str(folder / "home"), "700"]
    with (folder / "log").open("w") as log, subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            service = Rationed(process.stdout.readline().strip(), process, folder / "log")
            wait_for(lambda: service.get("/health/live") == 200)
            yield service
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_more_half_open_connections_than_files(rationed: Rationed) -> None:
    """1,100 half-open connections against 700 files: requests are answered, and the log stays short."""
    with ExitStack() as stack:
        for number in range(1100):
            stack.enter_context(connect(rationed.address, GET if number % 2 else b""))
            if number % 100 == 0:
                assert rationed.get("/health/live") == 200
        assert rationed.get("/v1/jobs") == 200
        held = len(list(Path(f"/proc/{rationed.process.pid}/fd").iterdir()))
    assert held < 300
    lines = rationed.log.read_text().splitlines()
    assert any("too many connections" in line for line in lines)
    assert len(lines) < 20


def test_the_listener_survives_a_lack_of_files(rationed: Rationed) -> None:
    """A connection without a file is closed, with one line in the log; with files again, requests are answered."""
    before = len(rationed.log.read_text())
    rationed.process.send_signal(signal.SIGUSR1)
    closed = 0
    for _ in range(3000):
        with connect(rationed.address, GET + b"\r\n") as connection:
            try:
                closed += connection.recv(1) == b""
            except ConnectionError:
                closed += 1
        if closed == 250:  # the first ones may come before the signal
            break
    rationed.process.send_signal(signal.SIGUSR2)
    assert closed == 250
    wait_for(lambda: rationed.get("/health/live") == 200)
    written = rationed.log.read_text()[before:]
    assert 1 <= written.count("connection refused") <= 3
    assert len(written) < 20_000


def test_masks_of_noise_are_sent_in_bounded_memory(rationed: Rationed, tmp_path: Path) -> None:
    """25 clients that do not read lines of 3 MB, and one that reads all of them, cost the service few megabytes."""
    clip, mask = write_clip(tmp_path / "clip.mp4"), write_mask(tmp_path / "mask.png")
    form = {"video": clip.read_bytes(), "mask": mask.read_bytes()}
    posted = httpx.post(f"{rationed.address}/v1/jobs", files=form, headers={"Prefer": "wait=60"}, timeout=120)
    path = f"/v1/jobs/{posted.json()['id']}"
    log = next(rationed.log.parent.rglob("frames*.ndjson"))
    filling = b"0" * (3 << 20)
    with log.open("wb") as file:
        for index in range(12):
            head = b'{"index":%d,"objects":[{"id":1,"rle":{"size":[48,64],"counts":"' % index
            file.write(head + filling + b'"},"area":9}]}\n')
    whole = hashlib.sha256(log.read_bytes()).hexdigest()
    request = f"GET {path}/masks HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    before = resident_bytes(rationed.process.pid)
    with ExitStack() as stack:
        for _ in range(25):
            connection = stack.enter_context(connect(rationed.address, request))
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        received = hashlib.sha256()
        with httpx.stream("GET", f"{rationed.address}{path}/masks", timeout=120) as masks:
            for part in masks.iter_raw():
                received.update(part)
        events = httpx.get(f"{rationed.address}{path}/events", timeout=120).text
        grown = resident_bytes(rationed.process.pid) - before
    assert received.hexdigest() == whole
    assert events.count('data: {"index":') == 12
    assert '"objects":[{"id":1,"area":9}]' in events
    assert grown < 60 << 20


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_is_no_http_is_answered_with_a_problem(service: Served) -> None:
    """A request that is not HTTP, or whose length has 4,300 digits, gets 400 and a problem."""
    for sent in (b"nonsense\r\n\r\n", POST.replace(b"9999", b"9" * 4300), GET + b"X: " + bytes(5) + b"\r\n\r\n"):
        with connect(service.client.base_url, sent) as connection:
            received = answer(connection)
        assert received.startswith(b"HTTP/1.1 400 "), received
        assert b"application/problem+json" in received
        assert b"/problems/bad-request" in received
