"""Malformed, too large and interrupted uploads."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from service.problems import type_of
from service.sandbox.pool import SandboxKilledError
from tests.support.serving import InlineSandbox, Served, served
from tests.support.waiting import files_below, wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests of the module."""
    with served(tmp_path_factory.mktemp("uploads")) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "content_type", "status", "kind"),
    [
        (b"{}", "application/json", 415, "unsupported-media-type"),
        (b"x", "multipart/form-data", 400, "invalid-multipart"),
        (b"x", f"multipart/form-data; boundary={'b' * 71}", 400, "invalid-multipart"),
        (b"no boundary here", "multipart/form-data; boundary=b", 400, "invalid-multipart"),
        (b"", "multipart/form-data; boundary=b", 400, "invalid-multipart"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422, "invalid-parts"),
        (
            b'--b\r\nContent-Disposition: form-data; name="video"\r\n\r\nx\r\n',
            "multipart/form-data; boundary=b", 400, "invalid-multipart",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b", 422, "invalid-parts",
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="mask"\r\n\r\nx\r\n' * 2 + b"--b--\r\n",
            "multipart/form-data; boundary=b", 422, "invalid-parts",
        ),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
         "multipart/form-data; boundary=b", 422, "invalid-parts"),
        (b"--b\r\n" + b"X: y\r\n" * 1000 + b"\r\nx\r\n--b--\r\n",
         "multipart/form-data; boundary=b", 400, "invalid-multipart"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_valid_form_is_refused(
    service: Served, body: bytes, content_type: str, status: int, kind: str
) -> None:
    """A body is refused unless it is a well-formed form with exactly the expected parts."""
    answer = service.client.post("/v1/jobs", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["type"]) == (status, type_of(kind))


def test_a_too_large_content_length_is_refused_unread(service: Served) -> None:
    """A Content-Length beyond the limit is answered before the body is sent."""
    address = service.client.base_url
    with socket.create_connection((address.host, address.port), timeout=240) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_an_interrupted_upload_leaves_nothing(service: Served) -> None:
    """An interrupted upload leaves no file and no job, and the service continues."""
    before = set(service.services.storage.job_ids())
    incoming = service.services.settings.files_dir / "incoming"
    address = service.client.base_url
    with socket.create_connection((address.host, address.port), timeout=240) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b'Content-Length: 5000000\r\n\r\n--b\r\nContent-Disposition: form-data; name="video"\r\n\r\n'
            + bytes(2_000_000)
        )
        wait_for(lambda: files_below(incoming))
    wait_for(lambda: not files_below(incoming))
    assert set(service.services.storage.job_ids()) == before
    service.run()


def test_a_sandbox_that_is_killed_says_nothing_about_the_file(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed twice from outside, it is answered 503 with `Retry-After`; the next request is accepted."""

    def killed(*_arguments: object) -> None:
        raise SandboxKilledError("ended from outside")

    with monkeypatch.context() as patched:
        patched.setattr(InlineSandbox, "call_within", killed)
        refused = service.post()
    assert (refused.status_code, refused.json()["type"]) == (503, type_of("not-ready"))
    assert int(refused.headers["retry-after"]) >= 1
    assert service.post().status_code == 202
