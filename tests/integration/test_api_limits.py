"""Limits hold exactly when many clients come at once, before their bodies are read, and places are given back."""

from __future__ import annotations

import re
import socket as socket_module
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from socket import create_connection, socket
from typing import Any

import pytest

from service.config import digest_of_key
from service.http.limits import listening_socket
from tests.support.serving import InlineSandbox, Served, served
from tests.support.waiting import files_below, wait_for

FORM = b"Host: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"


def send(service: Served, request: bytes, source: str = "127.0.0.1") -> socket:
    """Open a connection from an address of this machine and send a request, or a part of it."""
    url = service.client.base_url
    connection = create_connection((url.host, url.port), timeout=120, source_address=(source, 0))
    connection.sendall(request)
    return connection


def status_of(connection: socket) -> int:
    """Read the status of an answer; 0 if the connection was closed without one."""
    found = re.match(rb"HTTP/1.1 (\d+) ", connection.recv(1 << 16))
    return int(found[1]) if found else 0


def all_at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Call functions in threads that start together."""
    together = threading.Barrier(len(calls))

    def call(function: Callable[[], Any]) -> Any:
        together.wait(60)
        return function()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def form(service: Served) -> bytes:
    """Return the body of a form with a video and a mask."""
    parts = {"video": service.clip.read_bytes(), "mask": service.mask.read_bytes()}
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in parts.items()
    )
    return body + b"--b--\r\n"


@pytest.mark.parametrize("with_keys", [True, False])
def test_streams_are_limited_per_key_or_address(tmp_path: Path, with_keys: bool) -> None:
    """Of 24 clients at once with two keys, or from two addresses, exactly three of each get a stream."""
    keys = ",".join(f"{name}:{digest_of_key(name)}" for name in "ab") if with_keys else None
    with ExitStack() as stack:
        service = stack.enter_context(served(tmp_path / "home", max_followers_per_key=3, api_keys=keys))
        stack.enter_context(service.held())
        ids = {name: service.post(Authorization=f"Bearer {name}").json()["id"] for name in "ab"}

        def open_stream(number: int) -> tuple[str, int]:
            name, kind = "ab"[number % 2], ("masks", "events")[number // 2 % 2]
            head = (
                f"GET /v1/jobs/{ids[name]}/{kind} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {name}\r\n\r\n"
            )
            source = "127.0.0.1" if with_keys or name == "a" else "127.0.0.2"
            connection = stack.enter_context(send(service, head.encode(), source))
            return name, status_of(connection)

        found = Counter(all_at_once([lambda number=number: open_stream(number) for number in range(24)]))
    assert found == {("a", 200): 3, ("b", 200): 3, ("a", 429): 9, ("b", 429): 9}


def test_jobs_are_limited_before_their_uploads_are_read(tmp_path: Path) -> None:
    """Of 12 posts at once, as many are read as jobs are allowed; the others are refused before they send their body."""
    with ExitStack() as stack:
        service = stack.enter_context(served(tmp_path / "home", max_jobs_per_key=3))
        service.engine.paused.set()
        body = form(service)
        begin = b"POST /v1/jobs HTTP/1.1\r\n" + FORM + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-10]
        posts = [stack.enter_context(send(service, begin)) for _ in range(12)]
        wait_for(lambda: service.services.uploads.taken == 3)
        coming = []
        for post in posts:
            post.settimeout(0.3)
            try:
                assert status_of(post) == 429
            except TimeoutError:
                coming.append(post)
        assert len(coming) == 3
        for post in coming:
            post.settimeout(120)
            post.sendall(body[-10:])
            assert status_of(post) == 202
        assert service.post().status_code == 429
        assert len(service.client.get("/v1/jobs").json()["jobs"]) == 3


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Sandboxes whose calls wait until the event is set."""
    event, call_within = threading.Event(), InlineSandbox.call_within

    def wait_and_call(self: InlineSandbox, seconds: float, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if function is not len:  # warming up
            assert event.wait(120)
        return call_within(self, seconds, function, *args, **kwargs)

    monkeypatch.setattr(InlineSandbox, "call_within", wait_and_call)
    yield event
    event.set()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/probe"])
def test_the_line_before_a_sandbox_is_bounded_and_can_be_left(
    tmp_path: Path, blocked: threading.Event, path: str
) -> None:
    """Beyond the limit an upload is refused unread; a client that disconnects while it waits leaves its place."""
    with ExitStack() as stack:
        service = stack.enter_context(served(tmp_path / "home", inspect_processes=1, max_uploads=4))
        body = form(service) if path == "/v1/jobs" else form(service).split(b"--b", 2)
        whole = body if isinstance(body, bytes) else b"--b" + body[1] + b"--b--\r\n"
        head = b"POST %b HTTP/1.1\r\n" % path.encode() + FORM + b"Content-Length: %d\r\n\r\n" % len(whole)
        uploads = service.services.uploads
        first = stack.enter_context(send(service, head + whole))
        incoming = service.services.settings.files_dir / "incoming"
        wait_for(lambda: files_below(incoming))
        waiting = [send(service, head + whole) for _ in range(3)]
        wait_for(lambda: uploads.taken == 4)
        refused = stack.enter_context(send(service, head))
        assert status_of(refused) == 503
        for connection in waiting:
            connection.close()
        wait_for(lambda: uploads.taken == 1)
        late = stack.enter_context(send(service, head + whole))
        blocked.set()
        assert [status_of(connection) for connection in (first, late)] == [202 if path == "/v1/jobs" else 200] * 2
        wait_for(lambda: uploads.taken == 0)
        assert not files_below(incoming)


def test_a_client_that_leaves_a_busy_sandbox_keeps_its_place(tmp_path: Path, blocked: threading.Event) -> None:
    """A call that has begun runs to its end and counts until then: no more calls run than there are processes."""
    with served(tmp_path / "home", inspect_processes=1) as service:
        body = form(service)
        head = b"POST /v1/jobs HTTP/1.1\r\n" + FORM + b"Content-Length: %d\r\n\r\n" % len(body)
        pool = service.services.inspection_pool
        with send(service, head + body):
            wait_for(lambda: pool._turns is not None and pool._turns.borrowed_tokens == 1)
        with pytest.raises(AssertionError):
            wait_for(lambda: service.services.uploads.taken == 0, 0.5)
        blocked.set()
        wait_for(lambda: service.services.uploads.taken == 0)


def test_a_result_nobody_waits_for_is_not_made(tmp_path: Path, blocked: threading.Event) -> None:
    """A build that waits for a process ends with its last client; one that has begun is finished and kept."""
    with served(tmp_path / "home", inspect_processes=1, max_uploads_per_key=3) as service:
        blocked.set()
        ids = [service.run() for _ in range(3)]
        blocked.clear()
        builds, results = service.services.result_builds, service.services.builds
        requests = [f"GET /v1/jobs/{job_id}/result HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for job_id in ids]
        begun = send(service, requests[0])
        wait_for(lambda: [build.begun for build in builds.values()] == [True])
        with send(service, requests[1]), send(service, requests[1]):
            wait_for(lambda: results.taken == 3)
            assert len(builds) == 2
            refused = service.client.get(f"/v1/jobs/{ids[2]}/result")
            assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
        wait_for(lambda: list(builds) == [(ids[0], "png")])
        begun.close()
        wait_for(lambda: results.taken == 0)
        assert len(builds) == 1
        blocked.set()
        wait_for(lambda: not builds)
        made = [service.services.storage.job(job_id).result("masks.zip").exists() for job_id in ids]
        assert made == [True, False, False]
        assert service.client.get(f"/v1/jobs/{ids[1]}/result").status_code == 200


@pytest.mark.skipif(not hasattr(socket_module, "TCP_USER_TIMEOUT"), reason="only Linux closes such connections")
def test_a_client_that_reads_nothing_loses_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose client leaves data unread is closed after the time that a client has, 5 minutes."""
    assert listening_socket._UNREAD_SECONDS == 300
    monkeypatch.setattr(listening_socket, "_UNREAD_SECONDS", 1)
    with served(tmp_path / "home") as service:
        job_id = service.run()
        log = next(service.services.storage.job(job_id).folder.glob("frames*.ndjson"))
        lines = log.read_bytes()
        log.write_bytes(lines.replace(b'"objects":[', b'"objects":[' + b" " * (1 << 20)))
        with send(service, f"GET /v1/jobs/{job_id}/masks HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()):
            wait_for(lambda: service.services.streams.taken == 1)
            wait_for(lambda: service.services.streams.taken == 0)
