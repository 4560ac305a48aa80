"""The HTTP contract without any I/O: requests, and what responses mean.

`Client` and `AsyncClient` only send and wait.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from keymask.errors import JobCanceledError, JobFailedError
from keymask.marks import JobOptions, Marks, split, to_json
from keymask.mask_file import MaskLike, to_file
from keymask.models import Frame, Job, JobStatus, Progress
from keymask.options import Options, checked

VideoLike: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"
"""Path, bytes, or seekable binary file object."""
JobLike: TypeAlias = "Job | str"
"""A job, or its id."""

DEFAULT_URL = "http://localhost:8000"
POLL_SECONDS = (0.1, 2.0)
"""Shortest and longest pause between two polls of a job."""


@dataclass(frozen=True)
class Upload:
    """The files of a request, opened anew for each attempt.

    Attributes:
        video: The video.
        mask: Bytes of a mask file; None if only the video is uploaded.
        options: JSON text; None for the defaults.
        prompt: JSON text of boxes and points; None without them.
    """

    video: VideoLike
    mask: bytes | None = None
    options: str | None = None
    prompt: str | None = None

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """Yield `data` and `files` of an httpx request, small parts first, so that the service can refuse early."""
        files: dict[str, Any] = {}
        if self.mask is not None:
            files["mask"] = ("mask", self.mask, "application/octet-stream")
        with self._content() as content:
            files["video"] = (self._name(), content, "application/octet-stream")
            texts = {"options": self.options, "prompt": self.prompt}
            yield {"data": {name: text for name, text in texts.items() if text is not None}, "files": files}

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
    """An HTTP request."""

    method: str
    path: str
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    upload: Upload | None = None

    @contextmanager
    def arguments(self) -> Iterator[dict[str, Any]]:
        """Yield the arguments of `httpx.Client.build_request`; files are open inside the block."""
        params = {name: value for name, value in self.params.items() if value is not None}
        form: AbstractContextManager[dict[str, Any]] = self.upload.opened() if self.upload else nullcontext({})
        with form as parts:
            yield {"method": self.method, "url": self.path, "params": params, "headers": self.headers, **parts}


def submission(
    video: VideoLike, mask: MaskLike | None, given: JobOptions, idempotency_key: str | None, wait: int | None
) -> Call:
    """Build POST /v1/jobs; it always carries an idempotency key, so that a retry never makes a second job.

    Raises:
        ValueError: Not exactly one of a mask, `prompt`, `box` and `boxes` marks the objects.
    """
    options, marks = split(given)
    if (mask is not None) == bool(marks):
        ways = [*([] if mask is None else ["mask"]), *marks]
        raise ValueError(f"give one of mask, prompt, box and boxes; given: {', '.join(ways) or 'none'}")
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    if wait is not None:
        headers["Prefer"] = f"wait={wait}"
    chosen = checked(cast(Options, options))
    upload = Upload(
        video,
        None if mask is None else to_file(mask),
        json.dumps(chosen) if chosen else None,
        to_json(marks) if marks else None,
    )
    return Call("POST", "/v1/jobs", headers=headers, upload=upload)


def prompt_call(video: VideoLike, marks: Marks) -> Call:
    """Build POST /v1/prompts.

    Raises:
        ValueError: Not exactly one of `prompt`, `box` and `boxes` marks the objects.
    """
    options, ways = split(marks)
    if options:
        raise TypeError(f"{', '.join(options)} is no way to mark objects; allowed: prompt, box, boxes")
    return Call("POST", "/v1/prompts", {"format": "rle"}, upload=Upload(video, prompt=to_json(ways)))


def job_path(job: JobLike, *parts: str) -> str:
    """Return the path of a job or of a resource below it."""
    name = job if isinstance(job, str) else job.id
    return "/".join(["/v1/jobs", name, *parts])


def frame_of(line: str, job: Job) -> Frame:
    """Parse a line of the mask stream."""
    return Frame.model_validate({**json.loads(line), "height": job.video.height, "width": job.video.width})


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


def client_arguments(base_url: str | None, api_key: str | None, timeout: float, transport: Any) -> dict[str, Any]:
    """Return the arguments of an httpx client; KEYMASK_URL and KEYMASK_API_KEY are the defaults."""
    key = api_key or os.environ.get("KEYMASK_API_KEY")
    return {
        "base_url": base_url or os.environ.get("KEYMASK_URL") or DEFAULT_URL,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": timeout,
        "transport": transport,
    }
