"""The HTTP contract without any input or output: what is sent, what answers mean, when to try again.

`Client` and `AsyncClient` add only the sending and the waiting.
"""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, TypeAlias

import httpx

from keymask.errors import ConnectionFailedError, JobCanceledError, JobFailedError
from keymask.models import Frame, Job, JobStatus, Options, Progress
from keymask.png import MaskLike, to_png

VideoLike: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"
"""Path, bytes, or binary file object that can seek."""
JobLike: TypeAlias = "Job | str"
"""A job, or its id."""

DEFAULT_URL = "http://localhost:8000"
_RETRIED = frozenset({429, 502, 503, 504})
_FIRST_DELAY = 0.25
_LONGEST_DELAY = 30.0
_LONGEST_DELAY_FOLLOWING = 5.0
"""Who follows a job wants to know soon that the service is back."""
_STEADY_SECONDS = 5.0
"""A stream that breaks after so long, though nothing came, has not failed: a job that waits has nothing to tell."""
FOLLOW_SECONDS = 60.0
"""How long the service may be away while a job is followed, as when it is restarted."""
POLL_SECONDS = (0.1, 2.0)
"""Shortest and longest pause between two looks at a job."""


@dataclass(frozen=True)
class Upload:
    """The files of a request, opened anew for each try.

    Attributes:
        video: The video.
        mask: PNG bytes, None where only the video goes up.
        options: JSON text, None for none.
    """

    video: VideoLike
    mask: bytes | None = None
    options: str | None = None

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """`data` and `files` of an httpx request: small parts first, so that a service can refuse early."""
        files: dict[str, Any] = {}
        if self.mask is not None:
            files["mask"] = ("mask.png", self.mask, "image/png")
        with self._content() as content:
            files["video"] = (self._name(), content, "application/octet-stream")
            yield {"data": {} if self.options is None else {"options": self.options}, "files": files}

    def _name(self) -> str:
        named = self.video if isinstance(self.video, (str, os.PathLike)) else getattr(self.video, "name", None)
        return Path(named).name if isinstance(named, (str, os.PathLike)) else "video"

    def _content(self) -> AbstractContextManager[Any]:
        if isinstance(self.video, str | os.PathLike):
            return Path(self.video).open("rb")
        if not isinstance(self.video, bytes):
            self.video.seek(0)
        return nullcontext(self.video)


@dataclass(frozen=True)
class Call:
    """A request."""

    method: str
    path: str
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    upload: Upload | None = None

    @contextmanager
    def arguments(self) -> Iterator[dict[str, Any]]:
        """Arguments of `httpx.Client.build_request`; files are open inside."""
        params = {name: value for name, value in self.params.items() if value is not None}
        form: AbstractContextManager[dict[str, Any]] = self.upload.opened() if self.upload else nullcontext({})
        with form as parts:
            yield {"method": self.method, "url": self.path, "params": params, "headers": self.headers, **parts}


class Retry:
    """When to try a call again, and after how long: exponential with full jitter, or as the service asks.

    Every call of this client may be repeated: a submission carries an idempotency key, all others change nothing twice.

    Args:
        retries: Tries after the first one; a success gives them back.
        seconds: Count not the tries but for how long there was no success, unless there is to be no second try at all;
            for calls that follow a job. 0: count the tries.
    """

    def __init__(self, retries: int, seconds: float = 0.0) -> None:
        self._retries = retries
        self._seconds = seconds if retries else 0.0
        self._longest = _LONGEST_DELAY_FOLLOWING if self._seconds else _LONGEST_DELAY
        self._opened_at: float | None = None
        self.succeeded()

    def after_failure(self, error: httpx.TransportError) -> float:
        """Seconds to wait after a connection failed.

        Raises:
            ConnectionFailedError: No try is left.
        """
        opened_at, self._opened_at = self._opened_at, None
        if self._seconds and opened_at is not None and monotonic() - opened_at >= _STEADY_SECONDS:
            self.succeeded()
        if not self._may_try():
            raise ConnectionFailedError(f"no answer from the service: {error or type(error).__name__}") from error
        return self._next(None)

    def after_answer(self, response: httpx.Response) -> float | None:
        """Seconds to wait after an answer that asks for patience, None if the answer stands."""
        if response.status_code not in _RETRIED or not self._may_try():
            self._opened_at = monotonic()
            return None
        return self._next(_retry_after(response))

    def succeeded(self) -> None:
        """Something arrived: start counting anew."""
        self._left = self._retries
        self._failing_since: float | None = None
        self._delay = _FIRST_DELAY

    def _may_try(self) -> bool:
        if not self._seconds:
            return self._left > 0
        if self._failing_since is None:
            self._failing_since = monotonic()
        return monotonic() - self._failing_since < self._seconds

    def _next(self, asked: float | None) -> float:
        self._left -= 1
        drawn = random.uniform(0, self._delay)
        self._delay = min(2 * self._delay, self._longest)
        return drawn if asked is None else min(asked, _LONGEST_DELAY) + drawn


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of a Retry-After header, in either of its forms (RFC 9110, 10.2.3)."""
    text = response.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def submission(
    video: VideoLike, mask: MaskLike, options: Options, idempotency_key: str | None, wait: int | None
) -> Call:
    """POST /v1/jobs. Without a key of the caller's a new one is made, so that a repeated try makes no second job."""
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    if wait is not None:
        headers["Prefer"] = f"wait={wait}"
    chosen = options.model_dump(exclude_none=True)
    upload = Upload(video, to_png(mask), json.dumps(chosen) if chosen else None)
    return Call("POST", "/v1/jobs", headers=headers, upload=upload)


def job_path(job: JobLike, *parts: str) -> str:
    """Path of a job or of something below it."""
    name = job if isinstance(job, str) else job.id
    return "/".join(["/v1/jobs", name, *parts])


def frame_of(line: str, job: Job) -> Frame:
    """A line of the mask stream."""
    return Frame.model_validate({**json.loads(line), "height": job.video.height, "width": job.video.width})


def check_ended(job: Job) -> Job:
    """The job, if it succeeded.

    Raises:
        JobFailedError, JobCanceledError: It did not.
    """
    if job.status is JobStatus.FAILED:
        raise JobFailedError(job)
    if job.status is JobStatus.CANCELED:
        raise JobCanceledError(job)
    return job


def advanced(job: Job, done: int) -> Job:
    """The job as it looks after `done` masks have arrived."""
    total = job.progress.total or job.video.frames
    return job.model_copy(update={"progress": Progress(done=done, total=total, stage="segmenting")})


def client_arguments(base_url: str | None, api_key: str | None, timeout: float, transport: Any) -> dict[str, Any]:
    """Arguments of an httpx client; KEYMASK_URL and KEYMASK_API_KEY stand in for what is not given."""
    key = api_key or os.environ.get("KEYMASK_API_KEY")
    return {
        "base_url": base_url or os.environ.get("KEYMASK_URL") or DEFAULT_URL,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": timeout,
        "transport": transport,
    }
