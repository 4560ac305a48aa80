"""`/v1/jobs/{id}/events`: what happens to a job, as Server-Sent Events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from service.api.deps import COMMON, JobDep, ServicesDep
from service.frames import offset_of
from service.jobs.types import Job, JobStatus
from service.problems import PROBLEMS, body_of, documented
from service.schemas import MAX_INDEX, JobView
from service.services import Services, in_thread

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
    "data": '{"index":0,"pts":0,"time":0.0,"type":"I","source":"prompt",'
    '"objects":[{"id":1,"bbox":[290,160,64,96],"area":4410,"score":1.0}]}',
}


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses=documented(*COMMON, "job-not-found", "too-many-streams")
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
    services.feed.check_room()
    return StreamingResponse(
        _events(services, job, min(after, MAX_INDEX)), media_type="text/event-stream", headers=headers
    )


async def _events(services: Services, job: Job, after: int) -> AsyncIterator[bytes]:
    path = services.storage.job(job.id).frames
    shown: dict[str, Any] | None = None
    async with services.feed.follow(job) as watch:
        offset = await in_thread(offset_of, path, after + 1)
        while True:
            news = watch.news
            if news.job is not None and (state := _progress(news.job)) != shown:
                shown = state
                yield _event("progress", state)
            if offset < 0 or 0 < news.size < offset:  # the job was started over
                offset = await in_thread(offset_of, path, after + 1)
            while offset < news.size or news.final:
                lines, offset = await watch.read(path, offset)
                for line in lines:
                    frame = _frame(line)
                    if frame["index"] > after:
                        after = frame["index"]
                        yield _event("frame", frame, after)
                if not lines or offset < 0:
                    break
            if news.final:
                if news.job is not None:
                    yield _last(news.job)
                return
            if await watch.after(news, PING_SECONDS) == news:
                yield b": ping\n\n"


def _progress(job: Job) -> dict[str, Any]:
    p = job.progress
    return {"status": job.status, "done": p.done, "total": p.total, "stage": p.stage, "fps": p.fps}


def _frame(line: bytes) -> dict[str, Any]:
    """A line of masks without the masks: they are fetched from `masks`."""
    frame: dict[str, Any] = json.loads(line)
    frame["objects"] = [{k: v for k, v in entry.items() if k != "rle"} for entry in frame["objects"]]
    return frame


def _last(job: Job) -> bytes:
    if job.status is JobStatus.FAILED and job.error is not None:
        kind = job.error.type if job.error.type in PROBLEMS else "run-failed"
        return _event("error", body_of(kind, job.error.detail))
    return _event("done", JobView.of(job).model_dump(mode="json"))


def _event(kind: str, data: dict[str, Any], index: int | None = None) -> bytes:
    head = "" if index is None else f"id: {index}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
