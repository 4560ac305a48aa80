"""`/v1/jobs/{id}/events`: what happens to a job, as Server-Sent Events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from service.http.context import Services
from service.http.dependencies import COMMON, JobDep, ServicesDep
from service.http.problem_responses import documented
from service.http.schemas import JobView
from service.http.streaming.mask_stream import follow_masks
from service.jobs.types import Job, JobProgress, JobStatus
from service.problems import PROBLEMS, body_of
from service.run.options import MAX_INDEX
from service.writers.mask_line import EXAMPLE, index_of, without_masks

router = APIRouter(prefix="/v1/jobs", tags=["results"])

PING_SECONDS = 15.0
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["progress", "frame", "done", "error"]},
        "id": {"type": "string", "description": "Of a `frame`: its index."},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_EXAMPLE = {
    "event": "frame",
    "id": "0",
    "data": json.dumps(without_masks(EXAMPLE.encode()), separators=(",", ":")),
}


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses=documented(*COMMON, "job-not-found", "too-many-streams", "not-ready")
    | {
        200: {
            "description": "`progress`; `frame`, whose `id` is the frame's index; at the end `done` with the job, or "
            "`error` with a problem. A comment every 15 seconds keeps the connection open.",
            "content": {"text/event-stream": {"schema": _EVENT, "example": _EXAMPLE}},
        }
    },
)
async def read_events(
    job: JobDep,
    services: ServicesDep,
    last_event_id: Annotated[
        str | None, Header(description="Index of the last frame that was received; the stream goes on after it.")
    ] = None,
) -> StreamingResponse:
    """Events of a job from its first frame on, or after `Last-Event-ID`."""
    last = last_event_id or ""
    after = int(last) if last.isascii() and last.isdecimal() and len(last) < 10 else -1
    headers = {"Cache-Control": "no-cache, no-store", "X-Accel-Buffering": "no"}
    services.watcher.check_room()
    return StreamingResponse(
        _events(services, job, min(after, MAX_INDEX)), media_type="text/event-stream", headers=headers
    )


async def _events(services: Services, job: Job, after: int) -> AsyncIterator[bytes]:
    shown: bytes = b""
    async with aclosing(follow_masks(services, job, after + 1, PING_SECONDS)) as steps:
        async for step in steps:
            told = b"".join(map(_frame_event, step.lines))
            if step.news.job is not None and (state := _progress_event(step.news.job)) != shown:
                shown = state
                told = state + told
            if told or step.quiet:
                yield told or b": ping\n\n"
            last = step.news
    if last.job is not None and last.job.status.finished:
        yield _last(last.job)


def _progress_event(job: Job) -> bytes:
    return _state_event(job.status, job.progress)


@lru_cache(maxsize=256)
def _state_event(status: JobStatus, p: JobProgress) -> bytes:
    """Made once for all clients that follow a job."""
    return _event("progress", {"status": status, "done": p.done, "total": p.total, "stage": p.stage, "fps": p.fps})


@lru_cache(maxsize=256)
def _frame_event(line: bytes) -> bytes:
    """A line of masks as an event without the masks, which are fetched from `masks`; many clients get the same one."""
    return _event("frame", without_masks(line), index_of(line))


def _last(job: Job) -> bytes:
    if job.status is JobStatus.FAILED and job.error is not None:
        kind = job.error.type if job.error.type in PROBLEMS else "run-failed"
        return _event("error", body_of(kind, job.error.detail))
    return _event("done", JobView.of(job).model_dump(mode="json"))


def _event(kind: str, data: dict[str, Any], index: int | None = None) -> bytes:
    head = "" if index is None else f"id: {index}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
