"""How the clients reach a service: URL, key, certificates, proxy, time-outs."""

from __future__ import annotations

import ssl
import sys
import warnings
from pathlib import Path
from typing import Any

import httpx
import keymask
import pytest
from keymask import AsyncClient, Client

from tests.support.paths import ROOT
from tests.support.raw_server import raw_server
from tests.support.scripted_service import Run, Script, job, ok

CERTIFICATE = ROOT / "tests/support/localhost.pem"
MODELS = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"models":[]}'


def test_certificates_of_service_and_client_are_checked(run: Run) -> None:
    """`verify` names the authority of the service's certificate, `cert` is the client's own; without, TLS fails."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATE)
    tls.load_cert_chain(CERTIFICATE)
    tls.verify_mode = ssl.CERT_REQUIRED
    with raw_server(MODELS, tls=tls) as server:
        pem = str(CERTIFICATE)
        for trusted in ({"verify": pem, "cert": pem}, {"verify": False, "cert": (pem, pem)}):
            assert run(None, "models", url=server.address, **trusted) == []
        context = ssl.create_default_context(cafile=CERTIFICATE)
        assert run(None, "models", url=server.address, verify=context, cert=(pem, pem, "unused")) == []
        for refused in ({"verify": pem}, {"cert": pem}):
            with pytest.raises(keymask.ConnectionFailedError, match=server.address):
                run(None, "models", url=server.address, retries=0, **refused)


def test_a_proxy_gets_the_requests(run: Run) -> None:
    """`proxy` is asked for the URL of the service."""
    with raw_server(MODELS) as server:
        run(None, "models", url="http://service.example:8000", proxy=server.address)
    assert server.requests[0].startswith("GET http://service.example:8000/v1/models HTTP/1.1")


@pytest.mark.parametrize(
    ("url", "key", "warned"),
    [
        ("http://10.0.0.5:8000", "k", True),
        ("http://gpu.example", "k", True),
        ("http://localhost.example", "k", True),
        ("http://gpu.example", None, False),
        ("https://gpu.example", "k", False),
        ("http://localhost:8000", "k", False),
        ("http://127.0.0.9", "k", False),
        ("http://[::1]:8000", "k", False),
    ],
)
def test_a_key_over_plain_http_warns(monkeypatch: pytest.MonkeyPatch, url: str, key: str | None, warned: bool) -> None:
    """A key that others between the machines can read is warned of; one that stays on this machine is not."""
    monkeypatch.delenv("KEYMASK_API_KEY", raising=False)
    for kind in (Client, AsyncClient):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for _ in range(3):
                kind(url, api_key=key, verify=False)
        assert [each.category for each in caught] == [keymask.InsecureConnectionWarning] * warned
        assert all(each.filename == __file__ for each in caught)


@pytest.mark.parametrize(
    "arguments",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "ftp://localhost"},
        {"base_url": "http://"},
        {"base_url": "http://[::1"},
        {"base_url": "http://" + "a" * 70 + ".é"},
        {"api_key": "schlüssel"},
        {"api_key": "two\nlines"},
        {"proxy": "gopher://127.0.0.1"},
    ],
)
def test_what_cannot_be_used_is_refused_at_once(arguments: dict[str, Any]) -> None:
    """A bad argument is an error of the client when it is made."""
    for kind in (Client, AsyncClient):
        with pytest.raises(keymask.InvalidArgumentError):
            kind(**arguments)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "gopher://127.0.0.1:1"])
def test_a_proxy_of_the_environment_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """An error of the environment is an error of the client too, and says what is wrong."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setitem(sys.modules, "socksio", None)
    for kind in (Client, AsyncClient):
        with pytest.raises(keymask.InvalidArgumentError, match="proxy"):
            kind("https://gpu.example")


def test_a_key_that_was_read_from_a_file_may_end_in_a_newline(run: Run) -> None:
    """White space around a key is not part of it."""
    script = Script(ok({"models": []}))
    run(script, "models", api_key="km_x\n")
    assert script.requests[0].headers["Authorization"] == "Bearer km_x"


def test_the_answer_may_take_as_long_as_it_was_asked_to(run: Run) -> None:
    """The read time-out is longer than `prefer_wait`."""
    script = Script(ok(job(), 202))
    run(script, "submit", b"video", b"mask", prefer_wait=45)
    timeout = script.requests[0].extensions["timeout"]
    assert (timeout["connect"], timeout["read"]) == (60, 105)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b", "/v1/jobs/a%2Fb"),
        ("../models", "/v1/jobs/..%2Fmodels"),
        ("a?b#c", "/v1/jobs/a%3Fb%23c"),
        ("%2e%2e", "/v1/jobs/%252e%252e"),
        ("é\x00", "/v1/jobs/%C3%A9%00"),
    ],
)
def test_ids_are_escaped(run: Run, name: str, path: str) -> None:
    """An id never names another resource."""
    script = Script(httpx.Response(404))
    with pytest.raises(keymask.NotFoundError):
        run(script, "delete", name)
    assert script.requests[0].url.raw_path.decode() == path


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_an_id_that_is_a_step_in_a_path_is_refused(run: Run, name: str) -> None:
    """A path would lose such an id when it is normalized."""
    with pytest.raises(keymask.InvalidArgumentError):
        run(Script(), "delete", name)


def test_a_file_name_that_is_not_utf8_can_be_uploaded(run: Run, tmp_path: Path) -> None:
    """Any file that can be opened can be sent."""
    path = Path(str(tmp_path) + "/dog\udcff.mp4")
    path.write_bytes(b"video")
    script = Script(ok(job(), 202))
    run(script, "submit", path, b"mask")
    assert b'filename="dog?.mp4"' in script.requests[0].content
