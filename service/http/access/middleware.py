"""Plain ASGI, so that streams pass through unchanged: ids, logging and metrics of requests; HEAD; trusted proxies."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any, cast

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.config import PATH_PREFIX
from service.http.context import Services
from service.net.tracing import Attributes, Span, request_span
from service.runtime.logs import REQUEST_LOG

_log = logging.getLogger(REQUEST_LOG)
_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""A browser that shows an answer as a page loads and runs nothing from it."""
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}")


class RequestObserver:
    """Names, logs and counts requests.

    Args:
        app: The application that answers them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and record its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        method = scope["method"]
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        started, status, headers_after = perf_counter(), 500, 0.0

        async def send_observed(message: Message) -> None:
            nonlocal status, headers_after
            if message["type"] == "http.response.start":
                status, headers_after = message["status"], perf_counter() - started
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                add_security_headers(headers)
            await send(message)

        parent = Headers(scope=scope).get("traceparent")
        with structlog.contextvars.bound_contextvars(request_id=request_id), _traced(method, parent) as span:
            try:
                await self._app(scope, receive, send_observed)
            finally:
                _record(scope, method, status, headers_after, perf_counter() - started)
                span.end_as(*_about(scope, method, status), failed=status >= 500)


class HeadAsGet:
    """Answers HEAD as GET: with the same headers, which end the answer, also that of a stream.

    Args:
        app: The application, which has no route for HEAD.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        scope["method"] = "GET"  # in place: the observer of the request reads which route was found
        ended = False

        async def send_headers(message: Message) -> None:
            nonlocal ended
            if not ended:
                ended = True
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def receive_until_end() -> Message:
            return {"type": "http.disconnect"} if ended else await receive()

        await self._app(scope, receive_until_end, send_headers)


class TrustedProxies:
    """Takes address and scheme of the client, and the prefix of the service, from the headers of trusted proxies.

    Args:
        app: The application.
        trusted: Addresses and networks of the proxies.
        prefix: Path under which a proxy offers the service, unless the proxy names one.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str], prefix: str = "") -> None:
        self._prefix = prefix
        self._forwarded = ProxyHeadersMiddleware(cast("Any", app), list(trusted))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if self._prefix:
            scope["root_path"] = self._prefix
        if scope["type"] == "http" and scope["client"] and scope["client"][0] in self._forwarded.trusted_hosts:
            prefix = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
            if PATH_PREFIX.fullmatch(prefix):
                scope["root_path"] = prefix
        await self._forwarded(cast("Any", scope), cast("Any", receive), cast("Any", send))


def add_security_headers(headers: MutableHeaders) -> None:
    """Add the headers that every answer has for browsers; a page may have a policy of its own."""
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Content-Security-Policy", _POLICY)


def _record(scope: Scope, method: str, status: int, headers_after: float, seconds: float) -> None:
    services: Services | None = getattr(scope["app"].state, "services", None)
    route = getattr(scope.get("route"), "path", "none")
    label = method if method in _METHODS else "other"
    if services is not None:
        services.metrics.requests.labels(label, route, str(status)).inc()
        services.metrics.request_seconds.labels(label, route).observe(headers_after)
    state = scope.get("state", {})
    job_id = scope.get("path_params", {}).get("job_id") or state.get("job_id")
    _log.log(
        _level(route, status),
        "request",
        extra={
            "method": method,
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            "peer": (scope.get("client") or ("unknown",))[0],
            **({"api_key": state["api_key"]} if "api_key" in state else {}),
            **({"job_id": job_id} if job_id else {}),
        },
    )


def _traced(method: str, parent: str | None) -> AbstractContextManager[Span]:
    """Return the span of a request. What only reads is polled, so it is traced only as a part of its caller's trace."""
    return nullcontext(Span()) if parent is None and method in _READS else request_span(parent)


def _about(scope: Scope, method: str, status: int) -> tuple[str, Attributes]:
    """Return the name of a request's span and its attributes, as OpenTelemetry calls them."""
    method = method if method in _METHODS else "other"
    route = getattr(scope.get("route"), "path", "none")
    about: dict[str, str | int] = {"http.request.method": method, "http.route": route}
    about["http.response.status_code"] = status
    if job_id := scope.get("path_params", {}).get("job_id") or scope.get("state", {}).get("job_id"):
        about["keymask.job.id"] = job_id
    return f"{method} {route}", about


def _level(route: str, status: int) -> int:
    if route.startswith(("/health", "/metrics")) and status != 500:
        return logging.DEBUG  # polled every few seconds; 503 is an ordinary answer there
    return logging.ERROR if status >= 500 else logging.INFO
