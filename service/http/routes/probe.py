"""`/v1/probe`: what a video's bitstream offers, without running a model."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.http.dependencies import COMMON, CallerDep, ServicesDep
from service.http.multipart import Part, receive_form
from service.http.problem_responses import documented
from service.problems import ProblemError
from service.sandbox.inspection import probe_upload
from service.threads import in_thread

router = APIRouter(prefix="/v1", tags=["videos"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["video"],
                    "additionalProperties": False,
                    "properties": {"video": {"type": "string", "format": "binary"}},
                },
                "example": {"video": "(the bytes of dog.mp4)"},
            }
        },
    }
}
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


@router.post(
    "/probe",
    summary="Look at a video",
    responses=documented(
        *COMMON, "invalid-multipart", "invalid-parts", "unsupported-media-type", "upload-too-large",
        "upload-interrupted", "video-unreadable", "no-video-stream", "video-encrypted", "video-truncated", "no-frames",
        "video-undecodable", "too-many-pixels", "too-many-frames", "video-too-long", "storage-full", "not-ready",
    )
    | {
        200: {
            "description": "Frame types, motion, times, and what each key-frame policy would save.",
            "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLE}},
        }
    },
    openapi_extra=_BODY,
)  # fmt: skip
async def probe_video(request: Request, services: ServicesDep, _caller: CallerDep) -> Response:
    """Decode a video, which is then forgotten, and say what its bitstream offers."""
    if services.watcher.closing:
        raise ProblemError("not-ready", "the service is shutting down")
    settings = services.settings
    with services.storage.upload() as files:
        await in_thread(services.storage.check_space)
        parts = {"video": Part(int(settings.max_upload_bytes), files.video)}
        await receive_form(request, parts, received=services.metrics.upload_bytes.inc)
        report = await services.sandboxed(
            services.probe_pool, settings.probe_seconds, probe_upload, files.video, services.limits
        )
    return JSONResponse(report)
