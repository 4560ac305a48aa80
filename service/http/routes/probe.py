"""`/v1/probe`: what the bitstream of a video offers, without running a model."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from service.http.dependencies import VIDEO_UPLOAD, CallerDep, ServicesDep, check_open
from service.http.limits.disconnect import while_connected
from service.http.limits.places import share_of
from service.http.multipart import Part
from service.http.openapi import form_body
from service.http.problem_responses import document_problems
from service.http.submission import receive_upload
from service.sandbox.inspection import probe_upload

router = APIRouter(prefix="/v1", tags=["videos"])

_BODY = form_body(
    parts={"video": {"type": "string", "format": "binary"}},
    required=["video"],
    example={"video": "(the bytes of dog.mp4)"},
)
_EXAMPLE = {
    "frames": 90,
    "complete": True,
    "error": None,
    "fps": 25.0,
    "constant_rate": True,
    "duration_seconds": 3.6,
    "types": {"I": 1, "P": 29, "B": 60},
    "motion_coverage": 0.98,
    "intra_share": 0.02,
    "advice": ["With adaptive keys expect the network to run on about 12% of the frames."],
}
_REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Frame types, motion, times, and the number of key frames that each policy would pick.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}},
    }
}
_PROBLEMS = (*VIDEO_UPLOAD, "too-many-frames", "video-too-long")


@router.post(
    "/probe",
    summary="Probe a video",
    responses=document_problems(*_PROBLEMS) | _REPORT,
    openapi_extra=_BODY,
    dependencies=[Depends(check_open)],
)
async def probe_video(request: Request, services: ServicesDep, caller: CallerDep) -> Response:
    """Decode a video and report what its bitstream offers. The video is deleted afterwards."""
    with (
        services.uploads.take(share_of(request, caller)),
        services.storage.upload() as files,
        services.storage.reserve(caller) as space,
    ):
        parts = {"video": Part(int(services.settings.max_upload_bytes), files.video)}
        await receive_upload(services, request, parts, space)
        report = await while_connected(request, services.probe_pool.call(probe_upload, files.video, services.limits))
    return JSONResponse(report)
