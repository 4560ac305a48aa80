"""`/v1/jobs/{id}/masks`: masks as they are computed, all as NDJSON or one as PNG."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from service.http.context import Services
from service.http.dependencies import COMMON, JobDep, ServicesDep
from service.http.problem_responses import documented
from service.http.streaming.mask_stream import follow_masks
from service.jobs.types import Job
from service.problems import ProblemError
from service.run.options import MAX_INDEX
from service.storage.mask_log import find_line
from service.threads import in_thread
from service.writers.mask_line import EXAMPLE, index_of, labels_of, parse_line
from service.writers.png import encode_mask

router = APIRouter(prefix="/v1/jobs", tags=["results"])

_PATIENCE_SECONDS = 15.0
_EXAMPLE = EXAMPLE + "\n"


@router.get(
    "/{job_id}/masks",
    summary="Stream masks",
    response_class=StreamingResponse,
    responses=documented(*COMMON, "job-not-found", "too-many-streams", "not-ready")
    | {
        200: {
            "description": "One JSON object a line and frame (`FrameLine`), in presentation order, while the job runs; "
            "the stream ends with the job, whatever became of it.",
            "content": {
                "application/x-ndjson": {
                    "schema": {"$ref": "#/components/schemas/FrameLine"},
                    "example": EXAMPLE + "\n",
                }
            },
        }
    },
)
async def stream_masks(
    job: JobDep,
    services: ServicesDep,
    first: Annotated[int, Query(alias="from", ge=0, le=MAX_INDEX, description="First frame wanted.")] = 0,
    to: Annotated[int | None, Query(ge=0, le=MAX_INDEX, description="Frame to stop before.")] = None,
) -> StreamingResponse:
    """Run-length encoded masks of the frames from `from` to before `to`."""
    services.watcher.check_room()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    lines = _lines(services, job, first, MAX_INDEX + 1 if to is None else to)
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


async def _lines(services: Services, job: Job, first: int, end: int) -> AsyncIterator[bytes]:
    if first >= end:
        return
    async with aclosing(follow_masks(services, job, first, _PATIENCE_SECONDS)) as steps:
        async for step in steps:
            wanted = [line for line in step.lines if index_of(line) < end]
            if wanted:
                yield b"\n".join(wanted) + b"\n"
            if step.lines and index_of(step.lines[-1]) >= end - 1:
                return


@router.get(
    "/{job_id}/masks/{index}.png",
    summary="One mask as a picture",
    response_class=Response,
    responses=documented(*COMMON, "job-not-found", "mask-not-found")
    | {
        200: {
            "description": "Indexed PNG with the DAVIS palette, in display size and orientation; the palette index is "
            "the object's id.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
            "headers": {"ETag": {"schema": {"type": "string"}, "description": "Names this very mask."}},
        },
        304: {"description": "The client has it already (`If-None-Match`)."},
    },
)
async def read_mask_picture(
    job: JobDep,
    services: ServicesDep,
    index: Annotated[int, Path(ge=0, le=MAX_INDEX, description="Presentation index of the frame.")],
    if_none_match: Annotated[str | None, Header(description="ETags that the client has.")] = None,
) -> Response:
    """The mask of one frame, as soon as it is computed."""
    line = await in_thread(find_line, services.storage.job(job.id).mask_log, index)
    if line is None:
        state = "has not got so far" if not job.status.finished else f"is {job.status} and has no such frame"
        raise ProblemError("mask-not-found", f"there is no mask of frame {index}: the job {state}")
    etag = f'"{hashlib.sha256(line).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in (if_none_match or ""):
        return Response(status_code=304, headers=headers)
    return Response(await in_thread(_picture, line, job), media_type="image/png", headers=headers)


def _picture(line: bytes, job: Job) -> bytes:
    return encode_mask(labels_of(parse_line(line), job.video.width, job.video.height))
