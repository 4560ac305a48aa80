"""`/v1/prompts`: a mask from boxes and points on one frame of a video; nothing is stored."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from service.http.dependencies import VIDEO_UPLOAD, CallerDep, ServicesDep, check_open
from service.http.limits.disconnect import while_connected
from service.http.limits.places import share_of
from service.http.multipart import Part
from service.http.openapi import BINARY, PROMPT_SCHEMA, form_body
from service.http.problem_responses import document_problems
from service.http.schemas import PromptMask
from service.http.streaming.form_video import MAX_ID_BYTES, find_video, video_gone
from service.http.submission import MAX_PROMPT_BYTES, receive_upload
from service.prompts.shapes import parse_shapes
from service.sandbox.marking import mark_upload

router = APIRouter(prefix="/v1", tags=["videos"])

_BODY = form_body(
    parts={
        "video": {"type": "string", "format": "binary"},
        "upload": {"type": "string", "description": "In place of `video`: id of a complete resumable upload."},
        "job": {"type": "string", "description": "In place of `video`: id of a job, whose video is used."},
        "prompt": PROMPT_SCHEMA,
    },
    required=["prompt"],
    example={
        "video": "(the bytes of dog.mp4)",
        "prompt": [
            {"frame": 0, "object": 1, "box": [120, 80, 200, 310]},
            {"object": 2, "points": [[420, 200, 1], [500, 90, 0]]},
        ],
    },
    encoding={"prompt": {"contentType": "application/json"}},
)
_PROBLEMS = (
    *VIDEO_UPLOAD,
    "upload-not-found",
    "upload-incomplete",
    "job-not-found",
    "invalid-options",
    "mask-unusable",
    "too-many-objects",
)
_MASK: dict[int | str, dict[str, Any]] = {
    200: {
        "model": PromptMask,
        "description": "The mask: an indexed PNG whose palette index is the object's id, or JSON with `format=rle`.",
        "content": {"image/png": BINARY},
        "headers": {
            "X-Keymask-Notes": {
                "schema": {"type": "string"},
                "description": "What to look at, as a JSON list of sentences; with a PNG only.",
            }
        },
    }
}


@router.post(
    "/prompts",
    summary="Make a mask from boxes and points",
    responses=document_problems(*_PROBLEMS) | _MASK,
    openapi_extra=_BODY,
    dependencies=[Depends(check_open)],
)
async def make_prompt(
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    format: Annotated[
        Literal["png", "rle"], Query(description="`png`, or `rle` for JSON with run-length encodings.")
    ] = "png",
) -> Response:
    """Decode a video up to the frame and make its mask. A `video` is deleted afterwards.

    The same boxes and points give the same mask as the `prompt` of a job.
    """
    with (
        services.uploads.take(share_of(request, caller)),
        services.storage.upload() as files,
        services.storage.reserve(caller) as space,
    ):
        parts = {
            "video": Part(int(services.settings.max_upload_bytes), files.video, required=False),
            "upload": Part(MAX_ID_BYTES, required=False),
            "job": Part(MAX_ID_BYTES, required=False),
            "prompt": Part(MAX_PROMPT_BYTES),
        }
        await receive_upload(services, request, parts, space)
        shapes = parse_shapes(bytes(parts["prompt"].text))
        video = await find_video(services, caller, parts, files)
        making = services.probe_pool.call(mark_upload, video, shapes, services.limits)
        try:
            made = await while_connected(request, making)
        except FileNotFoundError:
            raise video_gone(parts) from None
    headers = {"Cache-Control": "no-store"}
    if format == "rle":
        return JSONResponse(made.values, headers=headers)
    headers["X-Keymask-Notes"] = json.dumps(made.values["notes"])
    return Response(made.png, media_type="image/png", headers=headers)
