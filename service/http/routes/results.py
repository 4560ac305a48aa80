"""`/v1/jobs/{id}/result`: the masks of a finished job as one file, with ETag and Range (RFC 9110, 13 and 14)."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from service.http.context import ResultBuild, Services
from service.http.dependencies import COMMON, CallerDep, JobDep, ServicesDep
from service.http.problem_responses import answer, documented
from service.jobs.types import Job, JobStatus
from service.problems import ProblemError
from service.sandbox.export import FORMATS, render
from service.threads import in_thread

router = APIRouter(prefix="/v1/jobs", tags=["results"])

_RANGES = re.compile(r"bytes=\s*(?:\d+-\d*|-\d+)\s*(?:,\s*(?:\d+-\d*|-\d+)\s*)*")
_BLOCK = 1 << 18
_LOOK_SECONDS = 0.05
_FILE = {"schema": {"type": "string", "format": "binary"}}
_CONTENT: dict[str, Any] = {
    form.media_type: {"schema": {"type": "object"}} if form.media_type == "application/json" else _FILE
    for form in FORMATS.values()
}
_HEADERS: dict[str, Any] = {
    "ETag": {"schema": {"type": "string"}, "description": "Names this very file."},
    "Accept-Ranges": {"schema": {"type": "string"}, "description": "`bytes`."},
}


class ResultFile(FileResponse):
    """A file with conditional and range requests; what starlette answers in plain text becomes a problem here."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, the part asked for, or that the client has it."""
        asked = Headers(scope=scope)
        etag = self.headers["etag"]
        if _names(asked.get("if-none-match", ""), etag):
            await Response(status_code=304, headers={"ETag": etag})(scope, receive, send)
            return
        wanted = asked.get("range")
        size = int(self.headers["content-length"])
        if wanted is not None and (not _RANGES.fullmatch(wanted) or _is_backwards(wanted)):
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() != b"range"]}
        elif wanted is not None and not _is_satisfiable(wanted, size) and asked.get("if-range", etag) == etag:
            refusal = answer("range-not-satisfiable", f"{wanted[:80]!r} asks for nothing of the {size} bytes")
            refusal.headers["Content-Range"] = f"bytes */{size}"
            await refusal(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


@router.get(
    "/{job_id}/result",
    summary="Take the result",
    response_class=Response,
    responses=documented(
        *COMMON, "job-not-found", "job-not-succeeded", "range-not-satisfiable", "run-failed", "storage-full",
        "video-undecodable", "not-ready",
    )
    | {
        200: {
            "description": "`png`: a zip of indexed PNGs with the DAVIS palette. `coco`: COCO instances with "
            "run-length encoding. `ytvis`: YouTube-VIS. `overlay`: an H.264 video with the masks drawn over it.",
            "content": _CONTENT,
            "headers": _HEADERS,
        },
        206: {
            "description": "The part that `Range` asked for.",
            "content": {form.media_type: _FILE for form in FORMATS.values()} | {"multipart/byteranges": _FILE},
            "headers": _HEADERS,
        },
        304: {"description": "The client has it already (`If-None-Match`)."},
    },
)  # fmt: skip
async def read_result(
    job: JobDep,
    caller: CallerDep,
    services: ServicesDep,
    name: Annotated[
        Literal["png", "coco", "ytvis", "overlay"], Query(alias="format", description="Kind of file.")
    ] = "png",
    asked: Annotated[str | None, Header(alias="Range", description="Part of the file.")] = None,
) -> Response:
    """One file with all masks; it is made when it is first asked for, and kept with the job.

    `png` and `coco` are sent while they are made, unless only a part is asked for.
    """
    if job.status is not JobStatus.SUCCEEDED:
        raise ProblemError("job-not-succeeded", f"the job is {job.status}; a result is there once it has succeeded")
    form = FORMATS[name]
    path = services.storage.job(job.id).result(form.file)
    headers = {
        # Masks of a finished job never change, and the same masks give the same file.
        "ETag": f'"{job.id}-{name}"',
        "Cache-Control": "private, no-cache",
    }
    if not path.exists():
        making = _making(services, job, name, caller)
        if form.grows and asked is None and await _has_begun(making):
            headers["Content-Disposition"] = f'attachment; filename="{job.id}-{form.file}"'
            return StreamingResponse(_growing(making, path), media_type=form.media_type, headers=headers)
        await asyncio.shield(making.task)
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise ProblemError("job-not-found", f"the job {job.id} was deleted") from None
    return ResultFile(
        path, media_type=form.media_type, filename=f"{job.id}-{form.file}", stat_result=stat, headers=headers
    )


def _making(services: Services, job: Job, name: str, caller: str | None) -> ResultBuild:
    """The result on its way: one for all who ask, which goes on when they leave."""
    key = job.id, name
    making = services.result_builds.get(key)
    if making is None:
        target = services.storage.job(job.id).result(FORMATS[name].file)
        part = target.with_name(f"part-{secrets.token_hex(8)}-{target.name}")
        making = ResultBuild(part, asyncio.create_task(_make(services, job, name, part, caller)))
        making.task.add_done_callback(
            lambda task: (services.result_builds.pop(key), task.cancelled() or task.exception())
        )
        services.result_builds[key] = making
    return making


async def _make(services: Services, job: Job, name: str, part: Path, caller: str | None) -> None:
    files = services.storage.job(job.id)
    try:
        await in_thread(services.storage.check_space, files.mask_log.stat().st_size)
        seconds = services.settings.render_seconds
        await services.sandboxed(services.export_pool, seconds, render, job, files, name, part)
    except Exception:
        await in_thread(services.store.get, job.id, caller)  # a job that was deleted meanwhile is the better answer
        raise
    finally:
        await in_thread(part.unlink, missing_ok=True)  # what a process left that was killed


async def _has_begun(making: ResultBuild) -> bool:
    """Whether something of the file can be read before all of it is there."""
    while not making.task.done():
        with suppress(FileNotFoundError):
            if (await in_thread(making.part.stat)).st_size:
                return True
        await asyncio.sleep(_LOOK_SECONDS)
    return False


async def _growing(making: ResultBuild, path: Path) -> AsyncIterator[bytes]:
    """The file to its end; an error breaks the answer off, so that nobody takes it for whole."""
    try:
        file = await in_thread(making.part.open, "rb")
    except FileNotFoundError:  # it got its name meanwhile
        file = await in_thread(path.open, "rb")
    with file:
        while True:
            is_done = making.task.done()  # asked first: what is read then is all there is
            if block := await in_thread(file.read, _BLOCK):
                yield block
            elif is_done:
                making.task.result()
                return
            else:
                await asyncio.sleep(_LOOK_SECONDS)


def _names(header: str, etag: str) -> bool:
    """Whether If-None-Match names the file."""
    return header.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in header.split(","))


def _is_satisfiable(wanted: str, size: int) -> bool:
    """Whether every range of a well-formed header begins within the file."""
    starts = (part.strip().split("-")[0] for part in wanted.removeprefix("bytes=").split(","))
    return size > 0 and all(not start or int(start) < size for start in starts) and "=-0" not in wanted.replace(" ", "")


def _is_backwards(wanted: str) -> bool:
    """Whether a range ends before it begins: the header counts as not sent (RFC 9110, 14.1.1)."""
    pairs = (part.strip().split("-") for part in wanted.removeprefix("bytes=").split(","))
    return any(first and last and int(last) < int(first) for first, last in pairs)
