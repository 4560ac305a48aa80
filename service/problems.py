"""Errors over HTTP: RFC 9457 problem details. The kinds, each with one status and title, and how they are answered.

`type` is `/problems/<kind>`: stable, the same on every installation, and an address of the service that explains it.
Which error of the code is which kind stands in `service.errors.ERROR_MAPPINGS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"
PREFIX = "/problems/"


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of error.

    Attributes:
        status: HTTP status it is answered with.
        title: What went wrong, the same each time.
        retry_after: Seconds after which the same request may succeed; None if it will not by itself.
    """

    status: HTTPStatus
    title: str
    retry_after: int | None = None


_BAD, _LARGE = HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE

PROBLEMS: Mapping[str, Problem] = {
    # the request
    "invalid-request": Problem(_BAD, "A parameter is missing or has a value that is not allowed"),
    "invalid-options": Problem(_BAD, "The options are not allowed"),
    "invalid-multipart": Problem(HTTPStatus.BAD_REQUEST, "The body is not well-formed multipart/form-data"),
    "invalid-parts": Problem(_BAD, "A part of the form is missing, unknown or given twice"),
    "unsupported-media-type": Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must be multipart/form-data"),
    "upload-too-large": Problem(_LARGE, "A file is larger than allowed"),
    "upload-interrupted": Problem(HTTPStatus.BAD_REQUEST, "The upload ended before its end"),
    "unauthorized": Problem(HTTPStatus.UNAUTHORIZED, "A valid API key is needed"),
    "not-found": Problem(HTTPStatus.NOT_FOUND, "There is nothing at this address"),
    "method-not-allowed": Problem(HTTPStatus.METHOD_NOT_ALLOWED, "This address does not offer this method"),
    "bad-request": Problem(HTTPStatus.BAD_REQUEST, "The request cannot be understood"),
    # the video
    "video-unreadable": Problem(_BAD, "The file is not a video that can be read"),
    "no-video-stream": Problem(_BAD, "The file has no video stream"),
    "video-encrypted": Problem(_BAD, "The video is encrypted"),
    "video-truncated": Problem(_BAD, "The video is cut off or damaged"),
    "no-frames": Problem(_BAD, "The video has no picture that can be decoded"),
    "video-undecodable": Problem(_BAD, "Reading the video took too much time or memory, or broke the decoder"),
    "too-many-pixels": Problem(_BAD, "The pictures of the video have more pixels than allowed"),
    "too-many-frames": Problem(_BAD, "The video has more frames than allowed"),
    "video-too-long": Problem(_BAD, "The video is longer than allowed"),
    # the mask
    "mask-unreadable": Problem(_BAD, "The mask is not a PNG picture that can be read"),
    "mask-size-mismatch": Problem(_BAD, "The mask has not the display size of the video"),
    "mask-unusable": Problem(_BAD, "The mask marks no object"),
    "too-many-objects": Problem(_BAD, "The mask marks more objects than allowed"),
    # jobs
    "model-unavailable": Problem(_BAD, "The weights of this model are not here"),
    "job-not-found": Problem(HTTPStatus.NOT_FOUND, "There is no such job"),
    "mask-not-found": Problem(HTTPStatus.NOT_FOUND, "There is no mask of this frame (yet)"),
    "job-finished": Problem(HTTPStatus.CONFLICT, "The job is finished already"),
    "job-not-succeeded": Problem(HTTPStatus.CONFLICT, "The job has not succeeded (yet)"),
    "range-not-satisfiable": Problem(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "The range lies outside the file"),
    "idempotency-conflict": Problem(_BAD, "The Idempotency-Key was used for another payload"),
    "worker-died": Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The job took its worker down, twice"),
    "run-failed": Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The job failed"),
    # the service
    "queue-full": Problem(HTTPStatus.TOO_MANY_REQUESTS, "As many jobs wait as are allowed", retry_after=30),
    "too-many-jobs": Problem(
        HTTPStatus.TOO_MANY_REQUESTS, "This API key has as many unfinished jobs as are allowed", retry_after=30
    ),
    "too-many-streams": Problem(HTTPStatus.TOO_MANY_REQUESTS, "As many streams are open as are allowed", retry_after=5),
    "storage-full": Problem(HTTPStatus.INSUFFICIENT_STORAGE, "There is no room for further files", retry_after=300),
    "not-ready": Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready yet", retry_after=2),
    "internal-error": Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed; its log says more"),
}


class ProblemError(Exception):
    """Is answered as a problem.

    Args:
        kind: Key of `PROBLEMS`.
        detail: One line on this very case: what was given, what is allowed.
        members: Further members of the answer, as JSON values.
    """

    def __init__(self, kind: str, detail: str, **members: Any) -> None:
        super().__init__(kind, detail, members)
        self.kind = kind
        self.detail = detail
        self.members = members

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.kind, self.detail, self.members)

    def __str__(self) -> str:
        return self.detail


def _rebuild(kind: str, detail: str, members: Mapping[str, Any]) -> ProblemError:
    return ProblemError(kind, detail, **members)


def type_of(kind: str) -> str:
    """The `type` of a kind."""
    return PREFIX + kind


def body_of(kind: str, detail: str, members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The members of a problem."""
    problem = PROBLEMS[kind]
    base = {"type": type_of(kind), "title": problem.title, "status": int(problem.status), "detail": detail}
    return base | dict(members or {})


def _documented_status() -> dict[str, Any]:
    return {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}}}
