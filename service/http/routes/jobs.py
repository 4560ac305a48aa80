"""`/v1/jobs`: create, list, look at, cancel, delete."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from service.http.context import Services
from service.http.dependencies import COMMON, CallerDep, JobDep, ServicesDep
from service.http.problem_responses import documented
from service.http.schemas import JobPage, JobView
from service.http.submission import submit_job
from service.jobs.types import Job, JobStatus
from service.threads import in_thread

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,4})\b")
_LONGEST_WAIT_SECONDS = 60
_POLL_SECONDS = "1"
_CREATE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["video", "mask"],
                    "additionalProperties": False,
                    "properties": {
                        "video": {"type": "string", "format": "binary", "description": "Any video that FFmpeg reads."},
                        "mask": {
                            "type": "string",
                            "format": "binary",
                            "description": "PNG of the video's display size. Indexed: the palette index is the "
                            "object's id, 0 the background. Grey or RGB: whatever is not black is object 1.",
                        },
                        "options": {"$ref": "#/components/schemas/Options"},
                    },
                },
                "example": {
                    "video": "(the bytes of dog.mp4)",
                    "mask": "(the bytes of dog_first.png)",
                    "options": {"keyframes": "adaptive", "start": 0, "end": 90},
                },
                "encoding": {
                    "video": {"contentType": "video/*, application/octet-stream"},
                    "mask": {"contentType": "image/png"},
                    "options": {"contentType": "application/json"},
                },
            }
        },
    }
}
_CREATE_PROBLEMS = (
    *COMMON, "invalid-multipart", "invalid-parts", "invalid-options", "unsupported-media-type", "upload-too-large",
    "upload-interrupted", "video-unreadable", "no-video-stream", "video-encrypted", "video-truncated", "no-frames",
    "video-undecodable", "too-many-pixels", "too-many-frames", "video-too-long", "mask-unreadable",
    "mask-size-mismatch", "mask-unusable", "too-many-objects", "model-unavailable", "idempotency-conflict",
    "queue-full", "too-many-jobs", "storage-full", "not-ready",
)  # fmt: skip
_LOCATION = {
    "Location": {"schema": {"type": "string"}, "description": "The job."},
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait before looking at the job."},
}


@router.post(
    "",
    status_code=202,
    response_model=JobView,
    summary="Create a job",
    responses=documented(*_CREATE_PROBLEMS)
    | {
        200: {"model": JobView, "description": "The finished job, if `Prefer: wait=N` was given and it ended in time."},
        202: {"description": "The job waits or runs.", "headers": _LOCATION},
    },
    openapi_extra=_CREATE_BODY,
)
async def create_job(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Posting again with the same key and payload gives the same job.",
        ),
    ] = None,
    prefer: Annotated[
        str | None,
        Header(max_length=200, description="`wait=N`: answer when the job is finished, within N <= 60 seconds."),
    ] = None,
) -> Response:
    """Post a video and the mask of one of its frames; get a job to follow."""
    accepted = await submit_job(services, request, caller, idempotency_key)
    job = accepted.job
    structlog.contextvars.bind_contextvars(job_id=job.id)
    request.state.job_id = job.id
    headers = {"Location": f"/v1/jobs/{job.id}"}
    if not accepted.new:
        headers["Idempotent-Replayed"] = "true"
    seconds = _wanted_wait(prefer)
    if seconds is not None:
        headers["Preference-Applied"] = f"wait={seconds}"
        job = await _wait(services, job, seconds)
        if job.status.finished:
            return _answer(job, 200, headers)
    return _answer(job, 202, headers | {"Retry-After": _POLL_SECONDS})


@router.get("", response_model=JobPage, summary="List jobs, newest first", responses=documented(*COMMON))
async def list_jobs(
    services: ServicesDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs of the answer.")] = 20,
    cursor: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="From the answer before.")] = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
) -> Response:
    """The caller's jobs, a page at a time; a cursor stays good while jobs come and go."""
    page = await in_thread(services.store.page, limit, cursor, status, caller)
    view = JobPage(jobs=[JobView.of(job) for job in page.jobs], cursor=page.cursor)
    return JSONResponse(view.model_dump(mode="json"))


@router.get(
    "/{job_id}", response_model=JobView, summary="Look at a job", responses=documented(*COMMON, "job-not-found")
)
async def read_job(job: JobDep) -> Response:
    """Status, progress, and after the end the report or the error."""
    return _answer(job, 200, {} if job.status.finished else {"Retry-After": _POLL_SECONDS})


@router.post(
    "/{job_id}/cancel", response_model=JobView, summary="Stop a job", responses=documented(*COMMON, "job-not-found")
)
async def cancel_job(job: JobDep, services: ServicesDep) -> Response:
    """A waiting job is canceled at once, a running one within a second of work; a finished one stays as it is."""
    changed = await in_thread(services.store.request_cancel, job.id)
    services.watcher.changed(job.id)
    services.engine.wake()
    return _answer(changed, 200)


@router.delete("/{job_id}", status_code=204, summary="Delete a job", responses=documented(*COMMON, "job-not-found"))
async def delete_job(job: JobDep, services: ServicesDep) -> Response:
    """Stop the job if it runs, and remove it with every file of it."""
    await in_thread(services.store.request_delete, job.id)
    services.watcher.changed(job.id)
    services.engine.wake()
    return Response(status_code=204)


def _answer(job: Job, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        JobView.of(job).model_dump(mode="json"), status, headers={"Cache-Control": "no-store", **(headers or {})}
    )


def _wanted_wait(prefer: str | None) -> int | None:
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), _LONGEST_WAIT_SECONDS) if found else None


async def _wait(services: Services, job: Job, seconds: int) -> Job:
    """The job when it is finished, or as it is after so many seconds."""
    until = asyncio.get_running_loop().time() + seconds
    async with services.watcher.follow(job) as watch:
        news = watch.news
        while not news.final and not services.watcher.closing:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            news = await watch.after(news, left)
    return news.job or job
