"""Errors as HTTP responses: every error becomes a problem document (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from codec.errors import CodecError
from service.errors import ServiceError
from service.http.access.middleware import add_security_headers
from service.http.context import Services
from service.jobs.database import is_transient
from service.problems import MEDIA_TYPE, PROBLEMS, ProblemError, problem_document, problem_of
from vos.errors import VosError

TUS_VERSION = "1.0.0"
"""Version of the protocol of resumable uploads (https://tus.io/protocols/resumable-upload)."""
_log = logging.getLogger(__name__)

_ROUTING_PROBLEMS = {404: "not-found", 405: "method-not-allowed"}
"""Status of an error that starlette raises while it routes a request -> problem type."""


def problem_response(kind: str, detail: str, members: Mapping[str, Any] | None = None) -> JSONResponse:
    """Return a problem as a response with the headers of its type."""
    problem = PROBLEMS[kind]
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="keymask"'
    if problem.status == HTTPStatus.PRECONDITION_FAILED:
        headers["Tus-Version"] = TUS_VERSION
    document = problem_document(kind, detail, members)
    return JSONResponse(document, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def document_problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses for problem types: one entry per status, one example per type."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        problem = PROBLEMS[kind]
        schema = {"$ref": "#/components/schemas/Problem"}
        entry = responses.setdefault(int(problem.status), {"content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}})
        examples = entry["content"][MEDIA_TYPE]["examples"]
        examples[kind] = {
            "summary": problem.title,
            "value": problem_document(kind, "What was given, what is allowed."),
        }
        entry["description"] = ", ".join(f"`{name}`" for name in examples)
        if problem.retry_after is not None:
            entry["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return responses


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error that a route raises as a problem."""
    for kind in (ServiceError, CodecError, VosError):
        app.add_exception_handler(kind, _on_known_error)
    app.add_exception_handler(SQLAlchemyError, _on_database_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_routing_error)
    app.add_exception_handler(Exception, _on_unexpected_error)


def respond(request: Request, problem: ProblemError) -> JSONResponse:
    """Return a problem as a response, and count it."""
    services: Services | None = getattr(request.app.state, "services", None)
    if services is not None:
        services.metrics.problems.labels(problem.kind).inc()
    return problem_response(problem.kind, problem.detail, problem.members)


async def _on_known_error(request: Request, error: Exception) -> JSONResponse:
    return respond(request, problem_of(error))


async def _on_database_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SQLAlchemyError)
    if not is_transient(error):
        return await _on_unexpected_error(request, error)
    _log.warning("the database does not answer", extra={"path": request.url.path, "reason": str(error)[:200]})
    return respond(request, ProblemError("database-unavailable", "the database does not answer; try again later"))


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": str(e["loc"][0]), "name": ".".join(str(part) for part in e["loc"][1:]), "message": str(e["msg"])}
        for e in error.errors()
    ]
    first = errors[0]
    detail = f"{first['name']} ({first['where']}): {first['message'][0].lower()}{first['message'][1:]}"
    return respond(request, ProblemError("invalid-request", detail, errors=errors))


async def _on_routing_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = _ROUTING_PROBLEMS.get(error.status_code, "bad-request")
    response = respond(request, ProblemError(kind, f"{request.method} {request.url.path[:200]}: {error.detail}"))
    response.headers.update(error.headers or {})
    if kind == "method-not-allowed":
        response.headers["Allow"] = ", ".join(_allowed_methods(request))
    return response


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods of the request's path; starlette names those of the first route only."""
    routes = (context.original_route for context in iter_route_contexts(request.app.routes))
    here = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    methods = {method for route in here for method in getattr(route, "methods", None) or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


async def _on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    _log.error("unexpected error", exc_info=error, extra={"path": request.url.path})
    response = respond(request, ProblemError("internal-error", "something failed that is not the request's fault"))
    add_security_headers(response.headers)  # the middleware that adds them has been left
    response.headers["Connection"] = "close"  # uvicorn closes it after a defect: the client must not use it again
    return response
