"""Errors of the client.

KeymaskError
├── InvalidArgumentError       an argument cannot be used, nothing was sent; also a ValueError
├── PackageMissingError        an optional package is not installed; also an ImportError
├── ConnectionFailedError      the service is unreachable, or the connection broke
├── InvalidResponseError       the answer is not one of a keymask service, such as broken JSON
├── WaitTimeoutError           the job did not end within the timeout
├── JobFailedError             the job ended with an error; see `.job`
├── JobCanceledError           the job was canceled
├── CvatError                  CVAT cannot be reached, or refuses what `Track.to_cvat` sends
├── LocalError                 a run in this process failed, see `keymask.local`
│   └── ServerNotInstalledError    the server packages that it needs are not installed
└── ProblemError               the service refused a request (RFC 9457): `.status`, `.type`, `.title`, `.detail`
    ├── InputRefusedError      400, 413, 415, 416, 422: the video, the mask or an option cannot be used
    ├── UnauthorizedError      401, 403: an API key is missing or wrong, or the service does not answer under this name
    ├── NotFoundError          404
    ├── ConflictError          409: not possible in this state of the job
    ├── TooManyRequestsError   429: the queue or a limit is full
    └── ServerError            5xx

Calls raise these errors only, except for TypeError (an unknown parameter) and OSError (a file of the caller that cannot
be read or written). An error of a request names its URL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from keymask.models import Job


class KeymaskError(Exception):
    """Base of every error of the client."""


class InvalidArgumentError(KeymaskError, ValueError):
    """An argument cannot be used; nothing was sent."""


class PackageMissingError(KeymaskError, ImportError):
    """An optional package that a call needs is not installed."""


class InsecureConnectionWarning(UserWarning):
    """An API key is sent over plain HTTP to another machine, so everyone in between can read it."""


class ConnectionFailedError(KeymaskError):
    """The service is unreachable, or the connection broke, after all retries."""


class InvalidResponseError(KeymaskError):
    """The answer is not one of a keymask service, such as broken JSON."""


class WaitTimeoutError(KeymaskError):
    """The job did not end within the timeout; it continues."""


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


class CvatError(KeymaskError):
    """CVAT cannot be reached, or refuses a call."""


class LocalError(KeymaskError):
    """A run in this process failed, or an input of it cannot be used."""


class ServerNotInstalledError(LocalError):
    """The server packages are not installed."""


class ProblemError(KeymaskError):
    """The service refused a request.

    Attributes:
        status: HTTP status.
        type: Stable name of the problem type, such as "/problems/mask-size-mismatch".
        title: The problem type in words.
        detail: What was given and what is allowed.
        members: All members of the problem document.
        url: URL of the request.
    """

    def __init__(self, status: int, members: dict[str, Any], url: str = "") -> None:
        self.status = status
        self.url = url
        self.type = str(members.get("type", "about:blank"))
        self.title = str(members.get("title", "The service refused the request"))
        self.detail = str(members.get("detail", ""))
        self.members = members
        super().__init__(f"{self.detail or self.title} (HTTP {status}, {self.type}, {url})")


class InputRefusedError(ProblemError):
    """The video, the mask or an option cannot be used."""


class UnauthorizedError(ProblemError):
    """An API key is missing or wrong, or the service does not answer under this name."""


class NotFoundError(ProblemError):
    """There is no such job, mask or route."""


class ConflictError(ProblemError):
    """The call is not possible in this state of the job."""


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
    """Return the error of a response without success that has been read to its end."""
    try:
        members = response.json()
    except (ValueError, RecursionError):
        members = {}
    if not isinstance(members, dict):
        members = {}
    if response.has_redirect_location:
        members = {"detail": f"the service is at another address: {response.headers['location']}", **members}
    fallback = ServerError if response.status_code >= 500 else ProblemError
    return _KINDS.get(response.status_code, fallback)(response.status_code, members, url_of(response))


def url_of(message: httpx.Response | httpx.RequestError) -> str:
    """Return the URL of the request that a response or an error belongs to, without user name and password."""
    try:
        return str(message.request.url.copy_with(userinfo=b""))
    except RuntimeError:  # it has no request
        return "the service"


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Translate httpx errors that retrying cannot fix into errors of this client.

    Args:
        url: What the errors name.
    """
    try:
        yield
    except httpx.DecodingError as error:
        raise InvalidResponseError(f"{url_of(error)}: the answer cannot be decoded: {error}") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError) as error:
        raise InvalidArgumentError(f"{url}: the request cannot be sent: {error}") from error


@contextmanager
def reading(response: httpx.Response) -> Iterator[None]:
    """Raise errors of code that reads the content of a response as `InvalidResponseError`."""
    try:
        yield
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InvalidResponseError(f"{url_of(response)}: this is no answer of a keymask service ({reason})") from error
