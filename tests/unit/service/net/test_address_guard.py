"""Servers that clients name: which are allowed, and that connections go nowhere else."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest

from service.errors import UrlNotAllowedError, UrlUnavailableError
from service.net.address_guard import Address, UrlRules, is_public, open_url
from tests.support.paths import ROOT
from tests.support.raw_server import Answer, raw_server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes"
CERTIFICATE = ROOT / "tests/support/localhost.pem"


def here(address: Address) -> bool:
    """Allow the loopback address that the servers of these tests have."""
    return address == ip_address("127.0.0.1")


def local(*hosts: str, **kwargs: Any) -> UrlRules:
    """Return rules that allow servers of this machine."""
    return UrlRules(hosts or ("127.0.0.1:*",), "KEYMASK_URL_HOSTS", ("http", "https"), here, **kwargs)


def rules_for(address: str, *more: str) -> UrlRules:
    """Return rules that allow a local server."""
    return local(address.partition("://")[2], *more)


def read(url: str, rules: UrlRules, **kwargs: Any) -> bytes:
    """Return the whole body of an answer."""
    with open_url(url, rules, **{"seconds": 20, **kwargs}) as response:
        return b"".join(response.blocks)


# Of the registries of special-purpose addresses (RFC 6890), of RFC 6598, 6052, 3056, 4380, 4291 and 3879.
REFUSED = (
    "0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 "
    "192.0.2.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 "
    ":: ::1 fe80::1 fc00::1 fd12:3456::1 fec0::1 ff02::1 2001:db8::1 2001::1 100::1 "
    "::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a00:1 2002:7f00:1::1"
)
ALLOWED = "1.1.1.1 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1"


@pytest.mark.parametrize("address", REFUSED.split())
def test_addresses_of_no_public_host_are_refused(address: str) -> None:
    """Private, loopback, link-local, shared and reserved addresses are not public, however they are written."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ALLOWED.split())
def test_addresses_of_the_internet_are_public(address: str) -> None:
    """Neighbors of the special ranges, and IPv6 forms of public IPv4 addresses, are public."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://media.example.com/a.mp4", ["media.example.com"]),
        ("https://MEDIA.example.com./a.mp4", ["Media.Example.com"]),
        ("https://media.example.com:443/a.mp4", ["media.example.com"]),
        ("https://a.b.example.com/", ["*.example.com"]),
        ("https://media.example.com:8443/", ["media.example.com:8443"]),
        ("https://any.org/", ["*"]),
        ("https://any.org:8443/", ["*:8443"]),
    ],
)
def test_listed_hosts_are_allowed(url: str, hosts: list[str]) -> None:
    """A host is allowed by its name, by a name above it, with the port of the scheme or a listed one."""
    assert UrlRules(hosts, "S").check(url).hostname


@pytest.mark.parametrize(
    ("url", "hosts", "reason"),
    [
        ("https://media.example.com/", [], "not allowed"),
        ("https://example.com/", ["*.example.com"], "not allowed"),
        ("https://badexample.com/", ["example.com"], "not allowed"),
        ("https://media.example.com.evil.org/", ["media.example.com"], "not allowed"),
        ("https://media.example.com:8443/", ["media.example.com", "*"], "not allowed"),
        ("https://[2606:4700::8443]/", ["*:8443"], "not allowed"),
        ("http://media.example.com/", ["*"], "https://"),
        ("file:///etc/passwd", ["*"], "https://"),
        ("https:///etc/passwd", ["*"], "https://"),
        ("https://media.example.com@evil.org/", ["*"], "user name"),
        ("https://media.example.com:99999/", ["*"], "malformed"),
        ("https://[::1/", ["*"], "malformed"),
        ("https://media.example.com/a\r\nHost: evil", ["*"], "percent-encoded"),
        ("https://media.example.com/ä", ["*"], "percent-encoded"),
    ],
)
def test_other_urls_are_refused(url: str, hosts: list[str], reason: str) -> None:
    """What is not listed, of another scheme, with credentials or malformed is refused with the reason."""
    with pytest.raises(UrlNotAllowedError, match=reason):
        UrlRules(hosts, "S").check(url)


@pytest.mark.parametrize("name", ["localhost", "127.1", "2130706433", "0x7f000001"])
def test_names_of_this_machine_are_refused(name: str) -> None:
    """A name that leads to this machine is refused, however it is written, and nothing is sent."""
    with raw_server(OK) as server:
        port = server.address.rpartition(":")[2]
        rules = UrlRules([f"*:{port}"], "S", ("http",))
        with pytest.raises(UrlNotAllowedError, match="not public"):
            read(f"http://{name}:{port}/", rules)
        assert server.requests == []


def test_an_allowed_server_is_read() -> None:
    """The answer comes from the server, which sees the path with its query and the name of the host."""
    with raw_server(OK) as server:
        assert read(f"{server.address}/a%20b?c=d", rules_for(server.address), headers={"X-One": "1"}) == b"bytes"
        (head,) = server.requests
        assert head.startswith("GET /a%20b?c=d HTTP/1.1\r\n")
        assert f"\r\nHost: {server.address[7:]}\r\n" in head
        assert "\r\nX-One: 1" in head


def test_a_host_is_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the address that was checked, though the name would lead elsewhere a moment later."""
    answers = iter(["127.0.0.1", "127.0.0.2"])
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host == "rebinding.test":
            asked.append(host)
            host = next(answers)
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with raw_server(OK) as server:
        port = server.address.rpartition(":")[2]
        assert read(f"http://rebinding.test:{port}/", local(f"rebinding.test:{port}")) == b"bytes"
        assert asked == ["rebinding.test"]
        with pytest.raises(UrlNotAllowedError, match="not public"):
            read(f"http://rebinding.test:{port}/", local(f"rebinding.test:{port}"))
        assert len(server.requests) == 1


def test_one_forbidden_address_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a public and a private address is refused."""
    found = [(2, 1, 6, "", (address, 443)) for address in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    with pytest.raises(UrlNotAllowedError, match="not public"):
        read("https://mixed.test/", UrlRules(["mixed.test"], "S"))


def redirect_to(url: str) -> bytes:
    """Return an answer that redirects."""
    return f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n".encode()


def test_redirects_are_followed_to_allowed_hosts_only() -> None:
    """A relative redirect is followed; one to a host, a scheme or an address that is not allowed is refused."""
    with raw_server(redirect_to("/there"), OK) as server:
        assert read(server.address, rules_for(server.address), redirects=1) == b"bytes"
        assert server.requests[1].startswith("GET /there ")
    for url in ("http://169.254.169.254/latest", "https://other.test/", "file:///etc/passwd", "http://127.0.0.2:80/"):
        with raw_server(redirect_to(url)) as server, pytest.raises(UrlNotAllowedError):
            read(server.address, rules_for(server.address, "127.0.0.2"), redirects=3)


def test_redirects_are_bounded() -> None:
    """After the last allowed redirect, the answer is the redirect itself."""
    with raw_server(redirect_to("/again")) as server:
        with open_url(server.address, rules_for(server.address), seconds=20, redirects=2) as response:
            assert response.status == 302
        assert len(server.requests) == 3


def silent(_request: bytes) -> bytes:
    """Answer too late."""
    time.sleep(1.5)
    return OK


@pytest.mark.parametrize("answer", [silent, OK[:-2], b""])
def test_an_answer_that_does_not_come_is_an_error(answer: Answer) -> None:
    """A server that is silent for too long or breaks off is an error; nothing waits for longer than allowed."""
    began = time.monotonic()
    with raw_server(answer) as server, pytest.raises(UrlUnavailableError):
        read(server.address, rules_for(server.address), seconds=0.5)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
def test_a_server_that_drips_is_cut_off(head: bytes) -> None:
    """A header or a body that grows by a byte from time to time does not extend the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.sendall(head)
                for _ in range(100):
                    time.sleep(0.05)
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(UrlUnavailableError, match="in time"):
            read(f"http://{address}/", local(address), seconds=0.7)
        assert time.monotonic() - began < 3
        thread.join()


def test_certificates_are_verified() -> None:
    """A server with a certificate that is not trusted, or of another name, is refused; a trusted one is read."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(CERTIFICATE)
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    with raw_server(OK, tls=server_side) as server:
        port = server.address.rpartition(":")[2]
        url = f"https://localhost:{port}/"
        rules = local(f"localhost:{port}", tls=trusting)
        assert read(url, rules) == b"bytes"
        with pytest.raises(UrlUnavailableError, match="certificate"):
            read(url, local(f"localhost:{port}"))


def test_a_host_that_does_not_exist_is_unavailable() -> None:
    """A name without an address is an error that says so."""
    with pytest.raises(UrlUnavailableError, match=r"nothing\.invalid cannot be read"):
        read("https://nothing.invalid/", UrlRules(["*"], "S"))
