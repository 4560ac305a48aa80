"""The HTTP contract without any I/O: requests, and what responses mean.

`Client` and `AsyncClient` only send and wait.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, TypeGuard, TypeVar, cast
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from keymask.errors import InvalidArgumentError, JobCanceledError, JobFailedError, reading
from keymask.marks import JobOptions, Marks, split, to_json
from keymask.mask_file import MaskLike, to_file
from keymask.models import Frame, Job, JobStatus, Model, Progress
from keymask.options import Options, checked

VideoFile: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"
"""Path, bytes, or seekable binary file object."""
JobLike: TypeAlias = "Job | str"
"""A job, or its id."""

Answer = TypeVar("Answer", bound=BaseModel)

POLL_SECONDS = (0.1, 2.0)
"""Shortest and longest pause between two polls of a job."""
_CANCEL_SECONDS = 5.0
"""How long an interrupted call waits for the service to cancel its job."""
_BUILD_SECONDS = 300.0
"""How much longer than other answers a result may take: some are sent only once they are made."""


@dataclass(frozen=True)
class UploadedVideo:
    """A video that `upload` has sent. One job takes it; `prompt` takes it any number of times before.

    Attributes:
        id: Id of the upload.
    """

    id: str


WebhookLike: TypeAlias = "str | Mapping[str, Any]"
"""A URL, or {"url": ..., "events": [...]}."""
VideoLike: TypeAlias = "VideoFile | UploadedVideo"
"""A video file, a URL that the service reads ("https://..." or "s3://..."), or what `upload` has returned."""
_URL_BEGINNINGS = ("https://", "s3://")


@dataclass(frozen=True)
class Upload:
    """The files of a request, opened anew for each attempt.

    Attributes:
        video: The video.
        mask: Bytes of a mask file; None if only the video is uploaded.
        options: JSON text; None for the defaults.
        prompt: JSON text of boxes and points; None without them.
        webhook: JSON text of where events are sent; None if nowhere.
    """

    video: VideoLike
    mask: bytes | None = None
    options: str | None = None
    prompt: str | None = None
    webhook: str | None = None

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """Yield `data` and `files` of an httpx request, small parts first, so that the service can refuse early."""
        files: dict[str, Any] = {}
        texts = {"options": self.options, "prompt": self.prompt, "webhook": self.webhook}
        if self.mask is not None:
            files["mask"] = ("mask", self.mask, "application/octet-stream")
        with self._content() as content:
            if isinstance(self.video, UploadedVideo):
                files["upload"] = (None, self.video.id)
            elif is_url(self.video):
                files["url"] = (None, self.video)
            else:
                files["video"] = (self._name(), content, "application/octet-stream")
            yield {"data": {name: text for name, text in texts.items() if text is not None}, "files": files}

    def _name(self) -> str:
        named = self.video if isinstance(self.video, (str, os.PathLike)) else getattr(self.video, "name", None)
        name = Path(named).name if isinstance(named, (str, os.PathLike)) else "video"
        return name.encode(errors="replace").decode()  # a name that is not UTF-8 can be opened, but not sent

    def _content(self) -> AbstractContextManager[Any]:
        if is_url(self.video):
            return nullcontext()
        if isinstance(self.video, str | os.PathLike):
            return Path(self.video).open("rb")
        if not isinstance(self.video, bytes | UploadedVideo):
            self.video.seek(0)
        return nullcontext(self.video)


def is_url(video: VideoLike) -> TypeGuard[str]:
    """Return whether a video is named by a URL, which the service reads."""
    return isinstance(video, str) and video.startswith(_URL_BEGINNINGS)


@dataclass(frozen=True)
class Call:
    """An HTTP request.

    Attributes:
        method: HTTP method.
        path: Path, escaped.
        params: Query; None leaves a parameter out.
        headers: Headers.
        upload: Files of the body.
        content: The body, in place of files.
        patience: Seconds that the answer may take beyond the time-out of the client.
        limit: Largest time-out in seconds, whatever the client's is.
    """

    method: str
    path: str
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    upload: Upload | None = None
    content: str | bytes | None = None
    patience: float = 0.0
    limit: float = math.inf

    @contextmanager
    def arguments(self, timeout: float) -> Iterator[dict[str, Any]]:
        """Yield the arguments of `httpx.Client.build_request`; files are open inside the block.

        Args:
            timeout: The client's time-out in seconds.
        """
        params = {name: value for name, value in self.params.items() if value is not None}
        allowed = min(timeout, self.limit)
        body = {} if self.content is None else {"content": self.content}
        form: AbstractContextManager[dict[str, Any]] = self.upload.opened() if self.upload else nullcontext(body)
        with form as parts:
            yield {
                "method": self.method,
                "url": self.path,
                "params": params,
                "headers": self.headers,
                "timeout": httpx.Timeout(allowed, read=allowed + self.patience),
                **parts,
            }


def submission(
    video: VideoLike,
    mask: MaskLike | None,
    given: JobOptions,
    idempotency_key: str | None,
    wait: int | None,
    *,
    webhook: WebhookLike | None = None,
) -> Call:
    """Build POST /v1/jobs; it always carries an idempotency key, so that a retry never makes a second job.

    Raises:
        InvalidArgumentError: Not exactly one of a mask, `prompt`, `prompts`, `box` and `boxes` marks the objects.
    """
    options, marks = split(given)
    if (mask is not None) == bool(marks):
        ways = [*([] if mask is None else ["mask"]), *marks]
        raise InvalidArgumentError(
            f"give one of mask, prompt, prompts, box and boxes; given: {', '.join(ways) or 'none'}"
        )
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    if wait is not None:
        headers["Prefer"] = f"wait={wait}"
    chosen = checked(cast(Options, options))
    upload = Upload(
        video,
        None if mask is None else to_file(mask),
        json.dumps(chosen) if chosen else None,
        to_json(marks) if marks else None,
        None if webhook is None else _webhook_json(webhook),
    )
    return Call("POST", "/v1/jobs", headers=headers, upload=upload, patience=max(0, wait or 0))


def prompt_call(video: VideoLike, marks: Marks) -> Call:
    """Build POST /v1/prompts.

    Raises:
        InvalidArgumentError: Not exactly one of `prompt`, `box` and `boxes` marks the objects.
    """
    options, ways = split(marks)
    if options:
        raise TypeError(f"{', '.join(options)} is no way to mark objects; allowed: prompt, box, boxes")
    return Call("POST", "/v1/prompts", {"format": "rle"}, upload=Upload(video, prompt=to_json(ways)))


def correction_call(
    job: JobLike, text: str, idempotency_key: str | None, webhook: WebhookLike | Literal[False] | None = None
) -> Call:
    """Build POST /v1/jobs/{id}/corrections; like a submission, it always carries an idempotency key.

    Args:
        job: The job.
        text: JSON object with the prompt.
        idempotency_key: The key, None for a new one.
        webhook: Where events are sent; None as those of the job, False nowhere.
    """
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex, "Content-Type": "application/json"}
    if webhook is not None:
        text = f'{text[:-1]},"webhook":{_webhook_json(webhook) if webhook else "null"}}}'
    return Call("POST", job_path(job, "corrections"), headers=headers, content=text)


def _webhook_json(webhook: WebhookLike) -> str:
    return json.dumps({"url": webhook} if isinstance(webhook, str) else dict(webhook))


def cancel_call(job: Job) -> Call:
    """Build the call of an interrupted `segment` or `stream`, which must not wait long."""
    return Call("POST", job_path(job, "cancel"), limit=_CANCEL_SECONDS)


def result_call(job: JobLike, format: str, headers: dict[str, str]) -> Call:
    """Build GET /v1/jobs/{id}/result."""
    return Call("GET", job_path(job, "result"), {"format": format}, headers, patience=_BUILD_SECONDS)


def notes_call(job: JobLike, format: str) -> Call:
    """Build GET /v1/jobs/{id}/result/notes."""
    return Call("GET", job_path(job, "result", "notes"), {"format": format}, patience=_BUILD_SECONDS)


def frame_call(job: JobLike, index: int, width: int | None) -> Call:
    """Build GET /v1/jobs/{id}/frames/{index}."""
    return Call("GET", job_path(job, "frames", str(index)), {"width": width}, {"Accept": "image/jpeg"})


def job_path(job: JobLike, *parts: str) -> str:
    """Return the path of a job or of a resource below it.

    Raises:
        InvalidArgumentError: The id would name another resource.
    """
    name = job if isinstance(job, str) else job.id
    if name in ("", ".", ".."):
        raise InvalidArgumentError(f"{name!r} is no id of a job")
    return "/".join(["/v1/jobs", quote(name, safe="", errors="surrogatepass"), *parts])


def parsed(kind: type[Answer], response: httpx.Response) -> Answer:
    """Parse a response.

    Raises:
        InvalidResponseError: It is something else.
    """
    with reading(response):
        return kind.model_validate(response.json())


def jobs_of(response: httpx.Response) -> tuple[list[Job], str | None]:
    """Parse a page of jobs to the jobs and the cursor of the next page; raises as `parsed`."""
    with reading(response):
        page = response.json()
        return [Job.model_validate(job) for job in page["jobs"]], page.get("cursor")


def versions_of(response: httpx.Response) -> list[Job]:
    """Parse the versions of a job; raises as `parsed`."""
    with reading(response):
        return [Job.model_validate(job) for job in response.json()["versions"]]


def models_of(response: httpx.Response) -> list[Model]:
    """Parse the list of networks; raises as `parsed`."""
    with reading(response):
        return [Model.model_validate(model) for model in response.json()["models"]]


def notes_of(response: httpx.Response) -> tuple[str, ...]:
    """Parse the notes on a result; raises as `parsed`."""
    with reading(response):
        return tuple(map(str, response.json()["notes"]))


def frame_of(line: str, job: Job, response: httpx.Response) -> Frame:
    """Parse a line of the mask stream; raises as `parsed`."""
    with reading(response):
        return Frame.model_validate({**json.loads(line), "height": job.video.height, "width": job.video.width})


def has_all(job: Job, following: int | None) -> bool:
    """Return whether a finished job has no mask at or after the frame `following`; False if that is not known."""
    first = job.options.get("start") or 0
    return job.status is JobStatus.SUCCEEDED and following is not None and following >= first + job.progress.done


def check_ended(job: Job) -> Job:
    """Return the job if it succeeded.

    Raises:
        JobFailedError, JobCanceledError: The job ended without success.
    """
    if job.status is JobStatus.FAILED:
        raise JobFailedError(job)
    if job.status is JobStatus.CANCELED:
        raise JobCanceledError(job)
    return job


def advanced(job: Job, done: int) -> Job:
    """Return the job with the progress of `done` masks."""
    total = job.progress.total or job.video.frames
    return job.model_copy(update={"progress": Progress(done=done, total=total, stage="segmenting")})
