"""Connections to servers that clients name: only to allowed hosts, and never into the service's own network.

A URL is refused unless its scheme and host are allowed. The host is resolved once, each of its addresses must be
public, and the connection goes to one of these very addresses, so a name that resolves to another address a moment
later (DNS rebinding) changes nothing. Each redirect is checked like the first URL. One deadline bounds everything from
the resolution to the last byte read. Proxies of the environment are not used: they would resolve names themselves.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import SplitResult, urljoin, urlsplit

from service.errors import UrlNotAllowedError, UrlUnavailableError

Address: TypeAlias = IPv4Address | IPv6Address

_REDIRECTS = (301, 302, 303, 307, 308)
_BLOCK = 1 << 18
"""Bytes that are read at a time."""
_CONNECT_SECONDS = 10.0
"""Longest wait for one of the addresses of a host."""
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""Prefixes of IPv6 addresses that a gateway turns into the IPv4 address in their last 32 bits (RFC 6052, RFC 8215)."""


def is_public(address: Address) -> bool:
    """Return whether an address is one of the internet: not private, loopback, link-local, shared or reserved.

    An IPv6 address that leads to an IPv4 address (mapped, 6to4, NAT64) is judged by that one.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if any(address in network for network in _NAT64):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address.teredo is not None:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


@dataclass(frozen=True, slots=True)
class UrlRules:
    """Which URLs may be opened.

    Attributes:
        hosts: Allowed hosts: "media.example.com", "*.example.com" for all names below it, "*" for all. A port other
            than that of the scheme must be allowed, too: "media.example.com:8443", or "*:8443".
        setting: Name of the setting that lists them, for messages.
        schemes: Allowed schemes, "https" and "http".
        is_allowed: Whether a connection may go to an address.
        tls: How servers are verified; None: by the certificates of the system.
    """

    hosts: Collection[str]
    setting: str
    schemes: tuple[str, ...] = ("https",)
    is_allowed: Callable[[Address], bool] = is_public
    tls: ssl.SSLContext | None = None

    def check(self, url: str) -> SplitResult:
        """Return the parts of an allowed URL. Its host is not resolved.

        Raises:
            UrlNotAllowedError: The URL is malformed, or its scheme, host or port is not allowed.
        """
        try:
            parts = urlsplit(url)
            host, port = _host_of(parts), parts.port
        except ValueError as error:
            raise UrlNotAllowedError(f"the URL is malformed: {error}") from None
        if parts.scheme not in self.schemes or not host:
            allowed = " or ".join(f"{scheme}://" for scheme in self.schemes)
            raise UrlNotAllowedError(f"the URL does not begin with {allowed} and a host")
        if parts.username is not None or parts.password is not None:
            raise UrlNotAllowedError("the URL has a user name or a password, which are not allowed in it")
        if any(ord(c) <= 32 or ord(c) == 127 for c in url) or not url.isascii():
            raise UrlNotAllowedError("the URL has characters that must be percent-encoded")
        name = host if port in (None, _default_port(parts)) else f"{host}:{port}"
        if not any(_matches(name, pattern.lower()) for pattern in self.hosts):
            raise UrlNotAllowedError(f"the host {name!r:.100} is not allowed; {self.setting} lists the allowed ones")
        return parts


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whatever its status.

    Attributes:
        status: Its status.
        headers: Its headers.
        blocks: Reads the body; raises `UrlUnavailableError` if it breaks off or the time is over.
    """

    status: int
    headers: Message
    blocks: Iterator[bytes]


@contextmanager
def open_url(
    url: str,
    rules: UrlRules,
    *,
    seconds: float,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    redirects: int = 0,
) -> Iterator[Answer]:
    """Send a request and yield the answer.

    Args:
        url: The URL.
        rules: Which URLs are allowed, also as targets of redirects.
        seconds: Time for everything, until the end of the block.
        method: The method.
        headers: Further headers.
        body: The body.
        redirects: How many redirects are followed; the answer after them may be one, too.

    Raises:
        UrlNotAllowedError: The URL, an address of its host, or a redirect is not allowed.
        UrlUnavailableError: The host does not exist, does not answer in time or breaks off.
    """
    deadline = time.monotonic() + seconds
    for left in range(redirects, -1, -1):
        parts = rules.check(url)
        host = _host_of(parts)
        with _connected(parts, rules, deadline) as connection:
            with _reading(host, deadline):
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request(method, target, body, {"User-Agent": "keymask", **(headers or {})})
                response = connection.getresponse()
            location = response.headers.get("Location")
            if not left or response.status not in _REDIRECTS or location is None:
                yield Answer(response.status, response.headers, _blocks(response, host, deadline))
                return
            url = urljoin(url, location)


def _blocks(response: HTTPResponse, host: str, deadline: float) -> Iterator[bytes]:
    left = response.length  # None: the body ends with its last chunk, or with the connection
    while True:
        with _reading(host, deadline):
            block = response.read(_BLOCK)
            if not block and left:
                raise IncompleteRead(b"", left)
        if not block:
            return
        left = None if left is None else left - len(block)
        yield block


@contextmanager
def _reading(host: str, deadline: float) -> Iterator[None]:
    """Turn errors of a connection into `UrlUnavailableError`. Where it was cut at the deadline, it may seem to end."""
    try:
        yield
        if time.monotonic() >= deadline:
            raise TimeoutError
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
            raise UrlUnavailableError(f"{host} does not answer in time") from None
        reason = str(error) or type(error).__name__
        raise UrlUnavailableError(f"{host} cannot be read: {reason:.200}") from None


@contextmanager
def _connected(parts: SplitResult, rules: UrlRules, deadline: float) -> Iterator[HTTPConnection]:
    """Connect to an allowed address of a host. At the deadline the connection is cut, whatever is being waited for."""
    host, port = parts.hostname or "", parts.port or _default_port(parts)
    with _reading(host, deadline):
        addresses = _resolve(host, port, rules)
        plain = _connect(addresses, port, deadline)
    cut = plain.dup()  # the same connection, whatever becomes of the first descriptor
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _shut_down, [cut])
    timer.daemon = True
    timer.start()
    try:
        with closing(plain):
            if parts.scheme == "https":
                tls = rules.tls or ssl.create_default_context()
                connection: HTTPConnection = HTTPSConnection(host, port, context=tls)
                with _reading(host, deadline):
                    connection.sock = tls.wrap_socket(plain, server_hostname=host)
            else:
                connection = HTTPConnection(host, port)
                connection.sock = plain
            with closing(connection):
                yield connection
    finally:
        timer.cancel()
        cut.close()


def _resolve(host: str, port: int, rules: UrlRules) -> list[Address]:
    """Return the addresses of a host.

    Raises:
        UrlNotAllowedError: One of them is not allowed.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not all(rules.is_allowed(address) for address in addresses):
        raise UrlNotAllowedError(f"the host {host!r:.100} has an address that is not public")
    return addresses


def _connect(addresses: list[Address], port: int, deadline: float) -> socket.socket:
    """Connect to the first address that answers.

    Raises:
        OSError: None does.
    """
    error: OSError = TimeoutError()
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            connected = socket.create_connection((str(address), port), min(left, _CONNECT_SECONDS))
        except OSError as failed:
            error = failed
        else:
            connected.settimeout(max(0.01, deadline - time.monotonic()))
            return connected
    raise error


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _host_of(parts: SplitResult) -> str:
    """Return the name of a host in lower case, or its address, an IPv6 address in brackets."""
    host = (parts.hostname or "").rstrip(".")
    return f"[{host}]" if ":" in host else host


def _default_port(parts: SplitResult) -> int:
    return 443 if parts.scheme == "https" else 80


def _matches(name: str, pattern: str) -> bool:
    """Return whether a pattern of `UrlRules.hosts` allows a host, with its port unless that is the default."""
    if pattern.startswith("*:"):
        return name.endswith(pattern[1:])
    if pattern == "*":
        return not name.rpartition(":")[2].isdecimal() or ":" not in name
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
