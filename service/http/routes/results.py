"""`/v1/jobs/{id}/result`: the masks of a job as one file, with ETag and Range (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from service.http.dependencies import COMMON, CallerDep, JobDep, ServicesDep, UntilAnsweredDep
from service.http.limits.disconnect import while_connected
from service.http.limits.places import share_of
from service.http.openapi import BINARY
from service.http.problem_responses import document_problems, problem_response
from service.http.schemas import ResultNotes, ReviewRangeView
from service.http.streaming.fetched import in_files_thread
from service.http.streaming.result_build import has_content, joined_build, read_growing, read_notes
from service.jobs.types import Job, JobStatus
from service.problems import ProblemError
from service.writers.formats import FORMATS

router = APIRouter(prefix="/v1/jobs", tags=["results"])

_DIGITS = 18
"""Digits of a number in a range; a longer one is beyond every file."""
_MAX_RANGES = 100
"""Ranges that starlette sends."""
_RANGES = re.compile(r"bytes=\s*(?:\d+-\d*|-\d+)\s*(?:,\s*(?:\d+-\d*|-\d+)\s*)*")
_HEADERS: dict[str, Any] = {
    "ETag": {"schema": {"type": "string"}, "description": "Identifies this file."},
    "Accept-Ranges": {"schema": {"type": "string"}, "description": "`bytes`."},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "; ".join(f"`{name}`: {form.about}" for name, form in FORMATS.items()) + ".",
        "content": {
            form.media_type: {"schema": {"type": "object"}} if form.media_type == "application/json" else BINARY
            for form in FORMATS.values()
        },
        "headers": _HEADERS,
    },
    206: {
        "description": "The part that `Range` selects.",
        "content": {form.media_type: BINARY for form in FORMATS.values()} | {"multipart/byteranges": BINARY},
        "headers": _HEADERS,
    },
    304: {"description": "The client already has the file (`If-None-Match`)."},
    307: {"description": "The file is at `Location`, for five minutes (`KEYMASK_STORAGE_REDIRECTS`)."},
}
_REVIEW: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {"example": [{"from": 40, "to": 56, "object": 1, "reason": "cut", "score": 0.81}]}
        }
    }
}
_PROBLEMS = (
    *COMMON, "job-not-found", "job-not-succeeded", "no-soft-masks", "range-not-satisfiable", "run-failed",
    "storage-full", "video-undecodable", "too-many-streams", "too-many-requests", "busy",
    "not-ready",
)  # fmt: skip

Format: TypeAlias = Annotated[
    Literal[
        "png",
        "binary-png",
        "coco",
        "polygons",
        "ytvis",
        "labelstudio",
        "labelstudio-brush",
        "npz",
        "overlay",
        "matte",
        "prores4444",
        "vp9-alpha",
    ],
    Query(alias="format", description="Format of the file."),
]
Range: TypeAlias = Annotated[str | None, Header(alias="Range", description="Part of the file.")]


class ResultFile(FileResponse):
    """A file with conditional and range requests. It answers a bad range with a problem, where starlette sends text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, the part that the request selects, or 304."""
        headers = Headers(scope=scope)
        etag = self.headers["etag"]
        if _matches(headers.get("if-none-match", ""), etag):
            await Response(status_code=304, headers={"ETag": etag})(scope, receive, send)
            return
        ranges = headers.get("range")
        if ranges is not None:
            ranges = re.sub(r"\d+", _bounded, ranges)
            others = [pair for pair in scope["headers"] if pair[0].lower() != b"range"]
            scope = {**scope, "headers": [*others, (b"range", ranges.encode("latin-1"))]}
        size = int(self.headers["content-length"])
        if ranges is not None and _is_ignored(ranges):
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() != b"range"]}
        elif ranges is not None and not _is_satisfiable(ranges, size) and headers.get("if-range", etag) == etag:
            refusal = problem_response("range-not-satisfiable", f"{ranges[:80]!r} selects none of the {size} bytes")
            refusal.headers["Content-Range"] = f"bytes */{size}"
            await refusal(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


@router.get(
    "/{job_id}/review",
    summary="List the frames to look at first",
    responses=document_problems(*COMMON, "job-not-found", "job-not-succeeded") | _REVIEW,
)
async def read_review(job: JobDep) -> list[ReviewRangeView]:
    """Ranges of frames that need review, the most urgent first; the same as `needs_review` in the report."""
    _check_succeeded(job, "review")
    return [ReviewRangeView.model_validate(item) for item in (job.report or {}).get("needs_review", ())]


@router.get(
    "/{job_id}/result",
    summary="Download the result",
    response_class=Response,
    responses=document_problems(*_PROBLEMS) | _RESPONSES,
)
async def read_result(
    *,
    request: Request,
    until_answered: UntilAnsweredDep,
    job: JobDep,
    caller: CallerDep,
    services: ServicesDep,
    name: Format = "png",
    ranges: Range = None,
) -> Response:
    """One file with all masks. It is made when it is first requested, and kept with the job.

    `png` and `coco` are sent while they are made, unless the request has a `Range`.
    """
    _check_succeeded(job, "result")
    _check_soft(job, name)
    until_answered.enter_context(services.streams.take(share_of(request, caller)))
    form = FORMATS[name]
    filename = f"{job.id}-{form.file}"
    files = services.storage.job(job.id)
    path = files.result(form.file)
    if services.settings.storage_redirects and (url := await in_files_thread(files, files.sign_result, form.file)):
        return RedirectResponse(url, headers={"Cache-Control": "no-store"})
    # The masks of a finished job never change, and the same masks make the same file.
    headers = {"ETag": f'"{job.id}-{name}"', "Cache-Control": "private, no-cache"}
    stat = await in_files_thread(files, files.find_result, form.file)
    if stat is None:
        with ExitStack() as held:
            held.enter_context(services.builds.take(share_of(request, caller)))
            build = held.enter_context(joined_build(services, job, name, caller))
            if form.grows and ranges is None and await while_connected(request, has_content(build)):
                until_answered.enter_context(held.pop_all())
                headers["Content-Disposition"] = f'attachment; filename="{filename}"'
                return StreamingResponse(read_growing(build, path), media_type=form.media_type, headers=headers)
            await while_connected(request, asyncio.shield(build.task))
        stat = await in_files_thread(files, files.find_result, form.file)
    if stat is None:
        raise ProblemError("job-not-found", f"the job {job.id} was deleted")
    return ResultFile(path, media_type=form.media_type, filename=filename, stat_result=stat, headers=headers)


@router.get(
    "/{job_id}/result/notes",
    summary="Read what was changed or lost in a result",
    responses=document_problems(*(kind for kind in _PROBLEMS if kind != "range-not-satisfiable")),
)
async def read_result_notes(
    *,
    request: Request,
    until_answered: UntilAnsweredDep,
    job: JobDep,
    caller: CallerDep,
    services: ServicesDep,
    name: Format,
) -> ResultNotes:
    """What differs from the source in a video, in plain words: sound that was dropped, HDR, fewer bits per sample.

    A video that does not exist yet is made first. Other formats have no notes.
    """
    _check_succeeded(job, "result")
    _check_soft(job, name)
    form = FORMATS[name]
    if not form.is_video:
        return ResultNotes(notes=[])
    until_answered.enter_context(services.streams.take(share_of(request, caller)))
    files = services.storage.job(job.id)
    notes = await in_files_thread(files, read_notes, files, form)
    if notes is None and await in_files_thread(files, files.find_result, form.file) is None:
        with services.builds.take(share_of(request, caller)), joined_build(services, job, name, caller) as build:
            await while_connected(request, asyncio.shield(build.task))
        notes = await in_files_thread(files, read_notes, files, form)
    return ResultNotes(notes=notes or [])


def _check_succeeded(job: Job, what: str) -> None:
    if job.status is not JobStatus.SUCCEEDED:
        raise ProblemError("job-not-succeeded", f"the job is {job.status}; only a job that succeeded has a {what}")


def _check_soft(job: Job, name: str) -> None:
    if FORMATS[name].is_soft and not job.options.soft:
        raise ProblemError(
            "no-soft-masks", f"{name} holds soft masks, which a job only keeps with the option soft; this one has none"
        )


def _bounded(number: re.Match[str]) -> str:
    """Return a number of a range without leading zeros, and not longer than Python and starlette parse."""
    digits = number[0].lstrip("0") or "0"
    return digits if len(digits) <= _DIGITS else "9" * _DIGITS


def _matches(if_none_match: str, etag: str) -> bool:
    """Return whether an If-None-Match header names the file."""
    tags = (part.strip().removeprefix("W/") for part in if_none_match.split(","))
    return if_none_match.strip() == "*" or etag in tags


def _is_satisfiable(ranges: str, size: int) -> bool:
    """Return whether every range of a well-formed header starts inside the file."""
    starts = (part.strip().split("-")[0] for part in ranges.removeprefix("bytes=").split(","))
    return size > 0 and all(not start or int(start) < size for start in starts) and "=-0" not in ranges.replace(" ", "")


def _is_ignored(ranges: str) -> bool:
    """Return whether a header counts as not sent: malformed, reversed, or with too many ranges."""
    return not _RANGES.fullmatch(ranges) or ranges.count(",") >= _MAX_RANGES or _is_reversed(ranges)


def _is_reversed(ranges: str) -> bool:
    """Return whether a range ends before it starts; such a header counts as not sent (RFC 9110, section 14.1.1)."""
    pairs = (part.strip().split("-") for part in ranges.removeprefix("bytes=").split(","))
    return any(first and last and int(last) < int(first) for first, last in pairs)
