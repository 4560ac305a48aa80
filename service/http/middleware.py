"""Gives every request an id, one log line and its metrics. Plain ASGI, so that streams pass through unchanged."""

from __future__ import annotations

import logging
import re
import secrets
from time import perf_counter

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.context import Services

_log = logging.getLogger("keymask.http")
_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})
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
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        started, status, headers_after = perf_counter(), 500, 0.0

        async def send_observed(message: Message) -> None:
            nonlocal status, headers_after
            if message["type"] == "http.response.start":
                status, headers_after = message["status"], perf_counter() - started
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_observed)
            finally:
                _record(scope, status, headers_after, perf_counter() - started)


def _record(scope: Scope, status: int, headers_after: float, seconds: float) -> None:
    services: Services | None = getattr(scope["app"].state, "services", None)
    route = getattr(scope.get("route"), "path", "none")
    method = scope["method"] if scope["method"] in _METHODS else "other"
    if services is not None:
        services.metrics.requests.labels(method, route, str(status)).inc()
        services.metrics.request_seconds.labels(method, route).observe(headers_after)
    job_id = scope.get("path_params", {}).get("job_id") or scope.get("state", {}).get("job_id")
    _log.log(
        _level(route, status),
        "request",
        extra={
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            **({"job_id": job_id} if job_id else {}),
        },
    )


def _level(route: str, status: int) -> int:
    if route.startswith(("/health", "/metrics")) and status != 500:
        return logging.DEBUG  # polled every few seconds; 503 is an ordinary answer there
    return logging.ERROR if status >= 500 else logging.INFO
