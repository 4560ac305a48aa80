"""Errors of the client.

KeymaskError
├── ConnectionFailedError      the service could not be reached, or went away
├── WaitTimeoutError           the job did not end in the time that was allowed
├── JobFailedError             the job ended with an error; `.job` says which
├── JobCanceledError           the job was canceled
└── ProblemError               the service refused a request (RFC 9457): `.status`, `.type`, `.title`, `.detail`
    ├── InputRefusedError      400, 413, 415, 416, 422: the video, the mask or an option cannot be used
    ├── UnauthorizedError      401, 403: an API key is missing or wrong
    ├── NotFoundError          404
    ├── ConflictError          409: not in this state of the job
    ├── TooManyRequestsError   429: the queue or a limit is full
    └── ServerError            5xx
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from keymask.models import Job


class KeymaskError(Exception):
    """Base of every error of the client."""


class ConnectionFailedError(KeymaskError):
    """The service could not be reached, or the connection broke, after all retries."""


class WaitTimeoutError(KeymaskError):
    """The job did not end in the time that was allowed; it goes on."""


class JobFailedError(KeymaskError):
    """The job ended with an error.

    Attributes:
        job: The job as it ended.
    """

    def __init__(self, job: Job) -> None:
        failure = job.error
        super().__init__(f"job {job.id} failed: {failure.detail if failure else 'no reason given'}")
        self.job = job


class JobCanceledError(KeymaskError):
    """The job was canceled.

    Attributes:
        job: The job as it ended.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} was canceled")
        self.job = job


class ProblemError(KeymaskError):
    """The service refused a request.

    Attributes:
        status: HTTP status.
        type: Stable name of the kind of problem, such as "/problems/mask-size-mismatch".
        title: The kind of problem in words.
        detail: What was given and what is allowed.
        members: Everything the service said.
    """

    def __init__(self, status: int, members: dict[str, Any]) -> None:
        self.status = status
        self.type = str(members.get("type", "about:blank"))
        self.title = str(members.get("title", "The service refused the request"))
        self.detail = str(members.get("detail", ""))
        self.members = members
        super().__init__(f"{self.detail or self.title} (HTTP {status}, {self.type})")


class InputRefusedError(ProblemError):
    """The video, the mask or an option cannot be used."""


class UnauthorizedError(ProblemError):
    """An API key is missing or wrong."""


class NotFoundError(ProblemError):
    """There is no such job, mask or address."""


class ConflictError(ProblemError):
    """Not possible in the state the job is in."""


class TooManyRequestsError(ProblemError):
    """The queue or a limit is full."""


class ServerError(ProblemError):
    """The service failed."""


_KINDS: dict[int, type[ProblemError]] = {
    400: InputRefusedError,
    401: UnauthorizedError,
    403: UnauthorizedError,
    404: NotFoundError,
    409: ConflictError,
    413: InputRefusedError,
    415: InputRefusedError,
    416: InputRefusedError,
    422: InputRefusedError,
    429: TooManyRequestsError,
}


def problem_of(response: httpx.Response) -> ProblemError:
    """The error that a response with an error status, read to its end, stands for."""
    try:
        members = response.json()
    except ValueError:
        members = {}
    if not isinstance(members, dict):
        members = {}
    fallback = ServerError if response.status_code >= 500 else ProblemError
    return _KINDS.get(response.status_code, fallback)(response.status_code, members)
