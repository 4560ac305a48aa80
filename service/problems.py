"""Problem types of the HTTP API (RFC 9457): each with its status and title, stated once.

The `type` of a problem is `/problems/<name>`. It is stable, the same on every installation, and an address of the
service that explains it. `service.errors.ERROR_MAPPINGS` says which error of the code is which problem type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from service.errors import ServiceError, error_mapping, message_of

MEDIA_TYPE = "application/problem+json"
PREFIX = "/problems/"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of error.

    Attributes:
        status: The HTTP status of the answer.
        title: The error in words, the same each time.
        retry_after: Seconds after which the same request may succeed; None if waiting does not help.
    """

    status: HTTPStatus
    title: str
    retry_after: int | None = None


_BAD, _LARGE = HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE

PROBLEMS: Mapping[str, ProblemType] = {
    # the request
    "invalid-request": ProblemType(_BAD, "A parameter is missing or has a value that is not allowed"),
    "invalid-options": ProblemType(_BAD, "The options are not allowed"),
    "invalid-multipart": ProblemType(HTTPStatus.BAD_REQUEST, "The body is not well-formed multipart/form-data"),
    "invalid-parts": ProblemType(_BAD, "A part of the form is missing, unknown or given twice"),
    "unsupported-media-type": ProblemType(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body must have another media type"),
    "upload-too-large": ProblemType(_LARGE, "A file is larger than allowed"),
    "upload-interrupted": ProblemType(HTTPStatus.BAD_REQUEST, "The upload was interrupted"),
    "unauthorized": ProblemType(HTTPStatus.UNAUTHORIZED, "A valid API key is needed"),
    "host-not-allowed": ProblemType(HTTPStatus.FORBIDDEN, "The service does not answer under this name"),
    "origin-not-allowed": ProblemType(HTTPStatus.FORBIDDEN, "The request comes from a page of another site"),
    "not-found": ProblemType(HTTPStatus.NOT_FOUND, "There is nothing at this address"),
    "method-not-allowed": ProblemType(HTTPStatus.METHOD_NOT_ALLOWED, "This address does not support this method"),
    "bad-request": ProblemType(HTTPStatus.BAD_REQUEST, "The request cannot be understood"),
    # addresses of other servers
    "url-not-allowed": ProblemType(_BAD, "The service may not connect to this URL"),
    "url-unavailable": ProblemType(_BAD, "The URL cannot be read"),
    # the video
    "video-unreadable": ProblemType(_BAD, "The file is not a video that can be read"),
    "no-video-stream": ProblemType(_BAD, "The file has no video stream"),
    "video-encrypted": ProblemType(_BAD, "The video is encrypted"),
    "video-truncated": ProblemType(_BAD, "The video is cut off or damaged"),
    "no-frames": ProblemType(_BAD, "The video has no picture that can be decoded"),
    "video-undecodable": ProblemType(_BAD, "Reading the video took too much time or memory, or broke the decoder"),
    "too-many-pixels": ProblemType(_BAD, "The pictures of the video have more pixels than allowed"),
    "too-many-frames": ProblemType(_BAD, "The video has more frames than allowed"),
    "video-too-long": ProblemType(_BAD, "The video is longer than allowed"),
    # the mask
    "mask-unreadable": ProblemType(_BAD, "The mask is not a picture that can be read"),
    "mask-size-mismatch": ProblemType(_BAD, "The mask does not match the video's display size"),
    "mask-ambiguous": ProblemType(_BAD, "It is not plain which objects the mask marks"),
    "mask-unusable": ProblemType(_BAD, "The mask marks no object"),
    "too-many-objects": ProblemType(_BAD, "The mask marks more objects than allowed"),
    # resumable uploads
    "upload-not-found": ProblemType(HTTPStatus.NOT_FOUND, "There is no such upload"),
    "upload-incomplete": ProblemType(HTTPStatus.CONFLICT, "The upload has not arrived completely (yet)"),
    "upload-offset-mismatch": ProblemType(HTTPStatus.CONFLICT, "The upload continues at another byte"),
    "upload-locked": ProblemType(HTTPStatus.LOCKED, "Another request writes to the upload", retry_after=1),
    "too-many-uploads": ProblemType(
        HTTPStatus.TOO_MANY_REQUESTS, "This API key may have no more unused uploads", retry_after=60
    ),
    "tus-version-not-supported": ProblemType(HTTPStatus.PRECONDITION_FAILED, "The service speaks tus 1.0.0"),
    # jobs
    "model-unavailable": ProblemType(_BAD, "The weights of this model are not installed"),
    "job-not-found": ProblemType(HTTPStatus.NOT_FOUND, "There is no such job"),
    "mask-not-found": ProblemType(HTTPStatus.NOT_FOUND, "There is no mask of this frame (yet)"),
    "frame-not-found": ProblemType(HTTPStatus.NOT_FOUND, "The video has no such frame"),
    "job-finished": ProblemType(HTTPStatus.CONFLICT, "The job is already finished"),
    "job-not-succeeded": ProblemType(HTTPStatus.CONFLICT, "The job has not succeeded (yet)"),
    "no-soft-masks": ProblemType(HTTPStatus.CONFLICT, "The job keeps no soft masks"),
    "nothing-to-undo": ProblemType(HTTPStatus.CONFLICT, "The job corrects no other job, or that one is gone"),
    "range-not-satisfiable": ProblemType(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "The range is outside the file"),
    "idempotency-conflict": ProblemType(_BAD, "The Idempotency-Key was used for another payload"),
    "masks-too-large": ProblemType(_BAD, "The masks of the job take more space than allowed"),
    "worker-died": ProblemType(HTTPStatus.INTERNAL_SERVER_ERROR, "The worker process died each time it ran the job"),
    "job-too-long": ProblemType(_BAD, "The job would take much longer than allowed"),
    "job-timeout": ProblemType(_BAD, "The job ran longer than allowed"),
    "job-unreadable": ProblemType(
        HTTPStatus.INTERNAL_SERVER_ERROR, "The stored job cannot be read; another version of the service wrote it"
    ),
    "run-failed": ProblemType(HTTPStatus.INTERNAL_SERVER_ERROR, "The job failed"),
    # the service
    "queue-full": ProblemType(HTTPStatus.TOO_MANY_REQUESTS, "No more jobs may wait at the moment", retry_after=30),
    "too-many-jobs": ProblemType(
        HTTPStatus.TOO_MANY_REQUESTS, "This API key may have no more unfinished jobs", retry_after=30
    ),
    "too-many-requests": ProblemType(
        HTTPStatus.TOO_MANY_REQUESTS, "This caller may have no more such requests in progress", retry_after=5
    ),
    "too-many-streams": ProblemType(HTTPStatus.TOO_MANY_REQUESTS, "No more streams may be open", retry_after=5),
    "storage-full": ProblemType(HTTPStatus.INSUFFICIENT_STORAGE, "There is no space for more files", retry_after=300),
    "busy": ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, "The service has no room for the request", retry_after=5),
    "not-ready": ProblemType(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready", retry_after=2),
    "database-unavailable": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer at the moment", retry_after=5
    ),
    "storage-unavailable": ProblemType(
        HTTPStatus.SERVICE_UNAVAILABLE, "Files cannot be stored or read at the moment", retry_after=5
    ),
    "internal-error": ProblemType(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed; its log has the details"),
}


class ProblemError(ServiceError):
    """An error that names its problem type itself, because only the place that raises it knows the type.

    Args:
        kind: A key of `PROBLEMS`.
        detail: One line on this case: what was given, what is allowed.
        members: Further members of the problem document, as JSON values.
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


def problem_of(error: BaseException) -> ProblemError:
    """Return the problem that answers `error`: itself, or the one that `ERROR_MAPPINGS` assigns to its class."""
    if isinstance(error, ProblemError):
        return error
    return ProblemError(error_mapping(error).problem, message_of(error))


def type_of(kind: str) -> str:
    """Return the `type` member of a kind."""
    return PREFIX + kind


def problem_document(kind: str, detail: str, members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the members of a problem document (RFC 9457, section 3.1)."""
    problem = PROBLEMS[kind]
    base = {"type": type_of(kind), "title": problem.title, "status": int(problem.status), "detail": detail}
    return base | dict(members or {})
