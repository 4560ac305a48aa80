"""How a client reaches the service: URL, API key, certificates and proxy, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import os
import ssl
import warnings
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx

from keymask.errors import InsecureConnectionWarning, InvalidArgumentError

Verify: TypeAlias = "bool | str | ssl.SSLContext"
"""Whether to check the service's certificate; or a file or folder of authorities to trust; or a context."""
Cert: TypeAlias = "str | tuple[str, str] | tuple[str, str, str]"
"""Client certificate: a file with certificate and key; or both files; or both files and the password of the key."""
Proxy: TypeAlias = "str | httpx.URL | httpx.Proxy"
"""Proxy for all requests, such as http://proxy.example:3128."""

Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)

DEFAULT_URL = "http://localhost:8000"


def client_arguments(
    base_url: str | None,
    api_key: str | None,
    *,
    timeout: float,
    transport: Any,
    verify: Verify,
    cert: Cert | None,
    proxy: Proxy | None,
) -> dict[str, Any]:
    """Return the arguments of an httpx client; KEYMASK_URL and KEYMASK_API_KEY are the defaults.

    Raises:
        InvalidArgumentError: The URL or the key cannot be used.
        OSError: A certificate cannot be read.
    """
    url = _checked_url(base_url or os.environ.get("KEYMASK_URL") or DEFAULT_URL)
    key = _checked_key(api_key or os.environ.get("KEYMASK_API_KEY") or "")
    if key and transport is None and url.scheme == "http" and not _is_this_machine(url.host):
        warnings.warn(
            f"the API key is sent to {url.host} over plain HTTP, where others can read it; use https",
            InsecureConnectionWarning,
            stacklevel=3,  # the line that makes the client
        )
    return {
        "base_url": url,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": timeout,
        "transport": transport,
        "verify": _tls(verify, cert),
        "proxy": proxy,
    }


def opened(kind: type[Http], arguments: dict[str, Any]) -> Http:
    """Make an httpx client.

    Raises:
        InvalidArgumentError: The proxy cannot be used; the environment may name it.
    """
    try:
        return kind(**arguments)
    except (httpx.InvalidURL, ValueError, ImportError) as error:  # SOCKS needs a package of its own
        raise InvalidArgumentError(f"the proxy cannot be used: {error}") from error


def _checked_url(given: str) -> httpx.URL:
    try:
        url = httpx.URL(given)
    except (httpx.InvalidURL, TypeError) as error:
        raise InvalidArgumentError(f"the service cannot be at {given!r}: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidArgumentError(f"the service cannot be at {given!r}; expected is a URL such as {DEFAULT_URL}")
    return url


def _checked_key(given: str) -> str:
    key = given.strip()  # a key read from a file ends in a newline
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InvalidArgumentError("the API key has characters that no key has; allowed: ASCII without spaces")
    return key


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _tls(verify: Verify, cert: Cert | None) -> bool | ssl.SSLContext:
    """Return `verify` of httpx with both files loaded, because httpx deprecates file names."""
    if isinstance(verify, str):
        is_folder = Path(verify).is_dir()
        context = ssl.create_default_context(cafile=None if is_folder else verify, capath=verify if is_folder else None)
    elif cert is None:
        return verify
    else:
        context = verify if isinstance(verify, ssl.SSLContext) else httpx.create_ssl_context(verify=verify)
    if cert is not None:
        context.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    return context
