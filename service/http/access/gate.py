"""Refuses requests that other web sites make a browser send to this service.

A browser on this machine, or in its network, reaches the service although the site does not. Two ways are closed:

- DNS rebinding: the site's own name resolves to this machine, so its pages count as pages of the service. Where no key
  protects the service, the `Host` header must be an address or a known name, as with Jupyter, Ollama and Syncthing.
- Cross-site requests: a form or script of another site posts here. The browser says so in `Sec-Fetch-Site` (Fetch
  Metadata, section 2.4) or `Origin` (RFC 6454, section 7); requests that change nothing are left to CORS.
"""

from __future__ import annotations

import ipaddress
from typing import cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.config import PREFIX, Settings
from service.http.context import Services
from service.http.problem_responses import respond
from service.problems import ProblemError

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestGate:
    """Lets requests pass that come from programs, from pages of the service, and from allowed origins.

    Args:
        app: The application that answers them.
        settings: The settings of the service.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = frozenset({"localhost", settings.host.lower(), *settings.host_names})
        self._checks_hosts_with_keys = bool(settings.host_names)
        self._origins = frozenset(settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except ProblemError as problem:
                await respond(Request(scope), problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        services = cast("Services", scope["app"].state.services)
        if (self._checks_hosts_with_keys or not services.keys.required) and not self._knows(headers.get("host", "")):
            raise ProblemError(
                "host-not-allowed",
                f"the request is for {headers['host'][:80]!r}; allowed: addresses, localhost, and the names in "
                f"{PREFIX}ALLOWED_HOSTS",
            )
        if scope["method"] not in _SAFE_METHODS and self._is_foreign(headers):
            raise ProblemError(
                "origin-not-allowed",
                f"the request comes from a page of {headers.get('origin', 'another site')[:80]!r}; allowed: pages of "
                f"this service, and of the origins in {PREFIX}CORS_ORIGINS",
            )

    def _knows(self, host: str) -> bool:
        """Return whether a Host header names this service. Without the header, no browser sent the request."""
        if not host or "*" in self._hosts:
            return True
        try:
            name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
        except ValueError:
            return False
        return name in self._hosts or name.endswith(".localhost") or _is_address(name)

    def _is_foreign(self, headers: Headers) -> bool:
        """Return whether a page of another origin sent the request. Programs send neither of the two headers."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if origin is not None and not self._origins.isdisjoint((origin, "*")):
            return False
        if site is not None:
            return site not in ("same-origin", "none")
        return origin is not None and origin.partition("://")[2] != headers.get("host")


def _is_address(name: str) -> bool:
    """Return whether a name is an IP address, which cannot be rebound."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
