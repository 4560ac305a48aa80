"""Problem documents (RFC 9457) as HTTP responses."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from service.problems import MEDIA_TYPE, PROBLEMS, _documented_status, body_of


def answer(kind: str, detail: str, members: Mapping[str, Any] | None = None) -> JSONResponse:
    """A problem as a response, with the headers its kind asks for."""
    problem = PROBLEMS[kind]
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="keymask"'
    return JSONResponse(
        body_of(kind, detail, members), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers
    )


def documented(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these kinds: one entry a status, one example a kind."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        problem = PROBLEMS[kind]
        entry = responses.setdefault(int(problem.status), _documented_status())
        content = entry["content"][MEDIA_TYPE]
        content["examples"][kind] = {
            "summary": problem.title,
            "value": body_of(kind, "What was given, what is allowed."),
        }
        entry["description"] = ", ".join(f"`{name}`" for name in content["examples"])
        if problem.retry_after is not None:
            entry["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return responses
