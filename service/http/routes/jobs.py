"""`/v1/jobs`: create, list, read, cancel and delete jobs."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Annotated, Any, TypeAlias

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from service.http.context import Services
from service.http.dependencies import COMMON, VIDEO_UPLOAD, CallerDep, JobDep, ServicesDep, check_open, root_of
from service.http.limits.places import share_of
from service.http.openapi import PROMPT_SCHEMA, form_body
from service.http.problem_responses import document_problems
from service.http.schemas import JobPage, JobView, links_of
from service.http.submission import SubmittedJob, submit_job
from service.jobs.types import Job, JobStatus
from service.problems import ProblemError
from service.runtime.threads import in_thread

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,4})\b")
_LONGEST_WAIT_SECONDS = 60
POLL_SECONDS = "1"
_CREATE_BODY = form_body(
    parts={
        "video": {"type": "string", "format": "binary", "description": "Any video that FFmpeg reads."},
        "upload": {
            "type": "string",
            "description": "In place of `video`: id of a complete resumable upload, which then belongs to the job.",
        },
        "url": {
            "type": "string",
            "format": "uri",
            "description": "In place of `video`: its https:// or s3:// URL, if the service reads from there "
            "(`KEYMASK_URL_HOSTS`).",
        },
        "mask": {
            "type": "string",
            "format": "binary",
            "description": "A picture (PNG, JPEG, BMP, WebP, TIFF or NPY) in the size in which the video is shown. "
            "Palette indices or grey values are object ids; otherwise each color is an object. Black is the "
            "background. `prompt` of the job says what was read.",
        },
        "prompt": PROMPT_SCHEMA
        | {"description": "In place of `mask`: boxes, points and masks of objects on one or more frames."},
        "options": {"$ref": "#/components/schemas/Options"},
        "webhook": {"$ref": "#/components/schemas/WebhookRequest"},
    },
    required=[],
    example={
        "video": "(the bytes of dog.mp4)",
        "mask": "(the bytes of dog_first.png)",
        "options": {"keyframes": "adaptive", "start": 0, "end": 90},
    },
    encoding={
        "video": {"contentType": "video/*, application/octet-stream"},
        "mask": {"contentType": "image/*, application/octet-stream"},
        "prompt": {"contentType": "application/json"},
        "options": {"contentType": "application/json"},
        "webhook": {"contentType": "application/json"},
    },
)
_CREATE_PROBLEMS = (
    *VIDEO_UPLOAD, "upload-not-found", "upload-incomplete", "url-not-allowed", "url-unavailable", "invalid-options",
    "too-many-frames", "video-too-long", "mask-unreadable", "mask-ambiguous",
    "mask-size-mismatch", "mask-unusable", "too-many-objects", "job-too-long", "model-unavailable",
    "idempotency-conflict", "queue-full", "too-many-jobs",
)  # fmt: skip
CREATED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "The job waits or runs.",
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Address of the job."},
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait before reading the job."},
        },
    },
}
_CREATE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": JobView, "description": "The finished job, if `Prefer: wait=N` was sent and the job ended in time."},
    **CREATED,
}

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Posting again with the same key and payload returns the same job.",
    ),
]
Prefer: TypeAlias = Annotated[
    str | None,
    Header(max_length=200, description="`wait=N`: answer once the job is finished, after at most N <= 60 seconds."),
]


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    summary="Create a job",
    responses=document_problems(*_CREATE_PROBLEMS) | _CREATE_RESPONSES,
    openapi_extra=_CREATE_BODY,
    dependencies=[Depends(check_open)],
)
async def create_job(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Post a video, and the mask of one of its frames or boxes and points on it. The answer is a job to follow."""
    submitted = await submit_job(services, request, caller, idempotency_key)
    job, headers = submitted.job, headers_of(request, submitted)
    seconds = _wait_seconds(prefer)
    if seconds is not None:
        # A client that waits is a follower; beyond the limit, the preference is ignored (RFC 7240, section 2).
        with suppress(ProblemError), services.streams.take(share_of(request, caller)):
            headers["Preference-Applied"] = f"wait={seconds}"
            job = await _wait(services, job, seconds)
        if job.status.finished:
            return job_response(request, job, 200, headers)
    return job_response(request, job, 202, headers | {"Retry-After": POLL_SECONDS})


@router.get("", response_model=JobPage, summary="List jobs, newest first", responses=document_problems(*COMMON))
async def list_jobs(
    *,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100, description="Largest number of jobs in the answer.")] = 20,
    cursor: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="`cursor` of the answer before.")] = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs with this status.")] = None,
) -> Response:
    """One page of the caller's jobs. A cursor stays valid while jobs come and go."""
    page = await in_thread(services.store.page, limit, cursor, status, caller)
    view = JobPage(jobs=[JobView.of(job, root_of(request)) for job in page.jobs], cursor=page.cursor)
    return JSONResponse(view.model_dump(mode="json"))


@router.get(
    "/{job_id}", response_model=JobView, summary="Read a job", responses=document_problems(*COMMON, "job-not-found")
)
async def read_job(request: Request, job: JobDep) -> Response:
    """Status and progress of a job; after its end also the report or the error."""
    return job_response(request, job, 200, {} if job.status.finished else {"Retry-After": POLL_SECONDS})


@router.post(
    "/{job_id}/cancel",
    response_model=JobView,
    summary="Cancel a job",
    responses=document_problems(*COMMON, "job-not-found"),
)
async def cancel_job(request: Request, job: JobDep, services: ServicesDep) -> Response:
    """A waiting job is canceled at once and a running job within about a second; a finished job does not change."""
    changed = await in_thread(services.store.request_cancel, job.id)
    services.watcher.changed(job.id)
    services.engine.wake()
    return job_response(request, changed, 200)


@router.delete(
    "/{job_id}", status_code=204, summary="Delete a job", responses=document_problems(*COMMON, "job-not-found")
)
async def delete_job(job: JobDep, services: ServicesDep) -> Response:
    """Stop the job if it runs, and delete it with all its files."""
    await in_thread(services.store.request_delete, job.id)
    services.watcher.changed(job.id)
    services.engine.wake()
    return Response(status_code=204)


def headers_of(request: Request, submitted: SubmittedJob) -> dict[str, str]:
    """Return the headers that tell of a submitted job, and name it in the request's log records."""
    job_id = submitted.job.id
    structlog.contextvars.bind_contextvars(job_id=job_id)
    request.state.job_id = job_id
    replayed = {} if submitted.new else {"Idempotent-Replayed": "true"}
    return {"Location": links_of(job_id, root_of(request))["self"], **replayed}


def job_response(request: Request, job: Job, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a job as the answer of a request."""
    content = JobView.of(job, root_of(request)).model_dump(mode="json")
    return JSONResponse(content, status, headers={"Cache-Control": "no-store", **(headers or {})})


def _wait_seconds(prefer: str | None) -> int | None:
    """Return the seconds of `wait` in a `Prefer` header (RFC 7240, section 4.3)."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), _LONGEST_WAIT_SECONDS) if found else None


async def _wait(services: Services, job: Job, seconds: int) -> Job:
    """Return the job once it is finished, or as it is after `seconds`."""
    until = asyncio.get_running_loop().time() + seconds
    async with services.watcher.follow(job) as watch:
        snapshot = watch.snapshot
        while not snapshot.final and not services.watcher.closing:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            snapshot = await watch.next_after(snapshot, left)
    return snapshot.job or job
