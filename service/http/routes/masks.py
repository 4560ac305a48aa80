"""`/v1/jobs/{id}/masks`: masks while they are computed, all of them as NDJSON or one as PNG."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.http.context import Services
from service.http.dependencies import COMMON, CallerDep, JobDep, ServicesDep, take_stream_place
from service.http.limits.disconnect import while_connected
from service.http.limits.places import share_of
from service.http.openapi import BINARY
from service.http.problem_responses import document_problems
from service.http.streaming.fetched import fetch_masks
from service.http.streaming.mask_stream import follow_masks
from service.jobs.types import Job
from service.problems import ProblemError
from service.run.options import MAX_INDEX
from service.runtime.threads import in_large_thread, in_thread
from service.sandbox.drawing import draw_line, draw_long_to, draw_to
from service.sandbox.handles import Output
from service.storage.mask_log_view import LongLine, MaskLogView, frame_of
from service.writers.mask_line import EXAMPLE

router = APIRouter(prefix="/v1/jobs", tags=["results"])

_IDLE_SECONDS = 15.0
_LIGHT_PIXELS = 1 << 24
"""Pixels times objects of a mask that is drawn in this process; a larger one would delay all other answers."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_LINES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One JSON object (`FrameLine`) per frame and line, in presentation order, while the job runs. "
        "The stream ends with the job, whatever its final status.",
        "content": {
            "application/x-ndjson": {"schema": {"$ref": "#/components/schemas/FrameLine"}, "example": EXAMPLE + "\n"}
        },
    }
}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An indexed PNG with the DAVIS palette, in display size and orientation. The palette index is "
        "the object's id.",
        "content": {"image/png": BINARY},
        "headers": {"ETag": {"schema": {"type": "string"}, "description": "Identifies this mask."}},
    },
    304: {"description": "The client already has the mask (`If-None-Match`)."},
}

_DRAWING = ("too-many-requests", "busy", "video-undecodable", "run-failed", "not-ready")
"""Problem types of drawing a mask in a sandbox."""

FromFrame: TypeAlias = Annotated[int, Query(alias="from", ge=0, le=MAX_INDEX, description="First frame to return.")]
ToFrame: TypeAlias = Annotated[int | None, Query(ge=0, le=MAX_INDEX, description="Frame to stop before.")]


@router.get(
    "/{job_id}/masks",
    summary="Stream masks",
    response_class=StreamingResponse,
    responses=document_problems(*COMMON, "job-not-found", "too-many-streams", "not-ready") | _LINES,
    dependencies=[Depends(take_stream_place)],
)
async def stream_masks(job: JobDep, services: ServicesDep, first: FromFrame = 0, to: ToFrame = None) -> Response:
    """Run-length encoded masks of the frames `from` to `to`, exclusive."""
    await fetch_masks(MaskLogView(services.storage.job(job.id), job.segments))  # before the answer begins
    lines = _lines(services, job, first, MAX_INDEX + 1 if to is None else to)
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=_HEADERS)


async def _lines(services: Services, job: Job, first: int, end: int) -> AsyncIterator[bytes]:
    if first >= end:
        return
    async with aclosing(follow_masks(services, job, first, _IDLE_SECONDS)) as steps:
        async for step in steps:
            wanted = [line for line in step.lines if frame_of(line) < end]
            if short := [line for line in wanted if isinstance(line, bytes)]:
                yield b"\n".join(short) + b"\n"
            for long in (line for line in wanted if isinstance(line, LongLine)):
                for piece in long.pieces():
                    yield await in_thread(step.log.read_piece, *piece)
                yield b"\n"
            if step.lines and frame_of(step.lines[-1]) >= end - 1:
                return


@router.get(
    "/{job_id}/masks/{index}.png",
    summary="Read one mask as a picture",
    response_class=Response,
    responses=document_problems(*COMMON, "job-not-found", "mask-not-found", *_DRAWING) | _PICTURE,
)
async def read_mask_picture(
    *,
    request: Request,
    job: JobDep,
    services: ServicesDep,
    caller: CallerDep,
    index: Annotated[int, Path(ge=0, le=MAX_INDEX, description="Presentation index of the frame.")],
    if_none_match: Annotated[str | None, Header(description="ETags that the client has.")] = None,
) -> Response:
    """The mask of one frame, as soon as it is computed."""
    log = await fetch_masks(MaskLogView(services.storage.job(job.id), job.segments))
    width, height = job.video.width, job.video.height
    line = await in_large_thread(log.find_line, index)
    if line is None:
        state = f"is {job.status} and has no such frame" if job.status.finished else "has not reached it"
        raise ProblemError("mask-not-found", f"there is no mask of frame {index}: the job {state}")
    etag = f'"{(await in_large_thread(log.digest_of, line))[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag in (if_none_match or ""):
        return Response(status_code=304, headers=headers)
    if isinstance(line, bytes) and line.count(b'"rle":') * width * height <= _LIGHT_PIXELS:
        picture = await in_thread(draw_line, line, width, height)
    else:
        draw = services.probe_pool.call
        with services.builds.take(share_of(request, caller)), services.storage.upload() as files:
            out = Output(files.mask)
            if isinstance(line, bytes):
                drawing = draw(draw_to, out, line, width, height)
            else:
                path, start = await in_thread(log.locate, line.start)
                drawing = draw(draw_long_to, out, path, (start, line.size), width, height)
            await while_connected(request, drawing)
            picture = await in_thread(files.mask.read_bytes)
    return Response(picture, media_type="image/png", headers=headers)
