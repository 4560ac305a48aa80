"""`/v1/jobs/{id}/events`: the progress of a job as Server-Sent Events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import StreamingResponse

from service.http.context import Services
from service.http.dependencies import COMMON, JobDep, ServicesDep, root_of, take_stream_place
from service.http.problem_responses import document_problems
from service.http.schemas import JobView
from service.http.streaming.fetched import fetch_masks
from service.http.streaming.mask_stream import follow_masks
from service.jobs.types import Job, JobStatus
from service.problems import problem_document
from service.run.options import MAX_INDEX
from service.storage.mask_log_view import LongLine, MaskLogView, frame_of
from service.writers.mask_line import EXAMPLE, without_masks

router = APIRouter(prefix="/v1/jobs", tags=["results"])

PING_SECONDS = 15.0
_HEADERS = {"Cache-Control": "no-cache, no-store", "X-Accel-Buffering": "no"}
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": ["progress", "frame", "done", "error"]},
        "id": {"type": "string", "description": "The index of the frame, in a `frame` event."},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_EXAMPLE = {
    "event": "frame",
    "id": "0",
    "data": without_masks(EXAMPLE.encode()).decode(),
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`progress` events; `frame` events whose `id` is the frame's index; at the end `done` with the "
        "job, or `error` with a problem. A comment every 15 seconds keeps the connection open.",
        "content": {"text/event-stream": {"schema": _EVENT, "example": _EXAMPLE}},
    }
}

LastEventId: TypeAlias = Annotated[
    str | None, Header(description="Index of the last frame that was received; the stream resumes after it.")
]


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses=document_problems(*COMMON, "job-not-found", "too-many-streams", "not-ready") | _STREAM,
    dependencies=[Depends(take_stream_place)],
)
async def read_events(
    request: Request, job: JobDep, services: ServicesDep, last_event_id: LastEventId = None
) -> StreamingResponse:
    """The events of a job from its first frame on, or after `Last-Event-ID`."""
    await fetch_masks(MaskLogView(services.storage.job(job.id), job.segments))  # before the answer begins
    last = last_event_id or ""
    after = int(last) if last.isascii() and last.isdecimal() and len(last) < 10 else -1
    events = _events(services, job, min(after, MAX_INDEX) + 1, root_of(request))
    return StreamingResponse(events, media_type="text/event-stream", headers=_HEADERS)


async def _events(services: Services, job: Job, first: int, root: str) -> AsyncIterator[bytes]:
    last_progress: bytes = b""
    async with aclosing(follow_masks(services, job, first, PING_SECONDS)) as steps:
        async for step in steps:
            events = b"".join(map(_frame_event, step.lines))
            snapshot = step.snapshot
            if snapshot.job is not None and (progress := _progress_event(snapshot.job)) != last_progress:
                last_progress = progress
                events = progress + events
            if events or step.idle:
                yield events or b": ping\n\n"
    if snapshot.job is not None and snapshot.job.status.finished:
        yield _final_event(snapshot.job, root)


def _progress_event(job: Job) -> bytes:
    p = job.progress
    return _event("progress", {"status": job.status, "done": p.done, "total": p.total, "stage": p.stage, "fps": p.fps})


def _frame_event(line: bytes | LongLine) -> bytes:
    """Return a line of the mask log as an event without the masks; clients fetch these from `masks`."""
    data = line.head if isinstance(line, LongLine) else without_masks(line)
    return b"id: %d\nevent: frame\ndata: %b\n\n" % (frame_of(line), data)


def _final_event(job: Job, root: str) -> bytes:
    if job.status is JobStatus.FAILED and job.error is not None:
        return _event("error", problem_document(job.error.type, job.error.detail))
    return _event("done", JobView.of(job, root).model_dump(mode="json"))


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
