"""`/v1/jobs/{id}/frames/{index}` and the same of uploads: frames of the video as pictures."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from service.http.context import Services
from service.http.dependencies import COMMON, CallerDep, JobDep, ServicesDep
from service.http.limits.disconnect import while_connected
from service.http.limits.places import share_of
from service.http.openapi import BINARY
from service.http.problem_responses import document_problems
from service.http.streaming.fetched import fetch_inputs
from service.http.streaming.frame_pictures import StoredVideo, WantedPicture, make_picture, read_listed_frames
from service.problems import ProblemError
from service.run.options import MAX_INDEX
from service.sandbox.frame_analysis import analyze_frame
from service.sandbox.frames import PictureFormat, count_frames, frame_not_found

router = APIRouter(prefix="/v1", tags=["videos"])

_FOR_EVER = "private, max-age=31536000, immutable"
FRAME_PROBLEMS = (
    *COMMON, "frame-not-found", "video-unreadable", "no-video-stream", "video-encrypted", "video-truncated",
    "no-frames", "video-undecodable", "too-many-pixels", "too-many-frames", "too-many-requests", "busy", "not-ready",
)  # fmt: skip
"""Problem types that a call for a frame may be answered with."""
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The frame in display orientation, as WebP if `Accept` prefers it, else as JPEG.",
        "content": {"image/jpeg": BINARY, "image/webp": BINARY},
        "headers": {
            "ETag": {"schema": {"type": "string"}, "description": "Identifies this picture."},
            "Cache-Control": {"schema": {"type": "string"}, "description": "The picture never changes."},
        },
    },
    304: {"description": "The client already has the picture (`If-None-Match`)."},
}

ANALYSIS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Type, motion and residual of the frame in display orientation. `dx` and `dy` lead, row by row, "
        "from the middle of a cell to where its content is in the frame `reference`, in display pixels; null where "
        "nothing is predicted. The residual is a grey PNG in base64, brighter where it is larger.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "frame": 7,
                    "type": "P",
                    "source": "bitstream",
                    "width": 854,
                    "height": 480,
                    "motion": {"columns": 2, "rows": 1, "dx": [-1.5, None], "dy": [0.25, None], "reference": [6, None]},
                    "residual": {"width": 320, "height": 180, "png": "(a PNG in base64)"},
                },
            }
        },
    }
}

FrameIndex: TypeAlias = Annotated[int, Path(ge=0, le=MAX_INDEX, description="Presentation index of the frame.")]
Width: TypeAlias = Annotated[
    int | None,
    Query(ge=16, le=16384, description="Width of the picture in pixels; never more than the display width."),
]
Accept: TypeAlias = Annotated[str | None, Header(description="`image/jpeg`, which is made faster, or `image/webp`.")]
IfNoneMatch: TypeAlias = Annotated[str | None, Header(description="ETags that the client has.")]


@router.get(
    "/jobs/{job_id}/frames/{index}",
    summary="Read one frame of the video",
    response_class=Response,
    responses=document_problems(*FRAME_PROBLEMS, "job-not-found") | PICTURE,
)
async def read_job_frame(
    *,
    request: Request,
    job: JobDep,
    services: ServicesDep,
    caller: CallerDep,
    index: FrameIndex,
    width: Width = None,
    accept: Accept = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The picture of one frame, exactly as decoding the video from its start yields it.

    Sixteen frames are made at a time, so the neighbors of a frame are answered at once.
    """
    try:
        video = StoredVideo(job.id, (await fetch_inputs(services.storage.job(job.id))).video)
        wanted = WantedPicture(video, index, width, format_of(accept))
        return await picture_response(request, services, caller, wanted, if_none_match)
    except FileNotFoundError:
        raise ProblemError("job-not-found", f"the job {job.id} was deleted") from None


@router.get(
    "/jobs/{job_id}/frames/{index}/analysis",
    summary="Read motion and residual of one frame",
    responses=document_problems(*FRAME_PROBLEMS, "job-not-found") | ANALYSIS,
)
async def analyze_job_frame(
    request: Request, job: JobDep, services: ServicesDep, caller: CallerDep, index: FrameIndex
) -> Response:
    """What the bitstream says about a frame, from which key frames are chosen. Decodes from the key frame before it."""
    try:
        video = StoredVideo(job.id, (await fetch_inputs(services.storage.job(job.id))).video)
        return await analysis_response(request, services, caller, video, index)
    except FileNotFoundError:
        raise ProblemError("job-not-found", f"the job {job.id} was deleted") from None


async def analysis_response(
    request: Request, services: Services, caller: str | None, video: StoredVideo, index: int
) -> Response:
    """Answer with what `analyze_frame` returns.

    Raises:
        ProblemError: The frame cannot be read.
        FileNotFoundError: The video was deleted.
    """
    with services.builds.take(share_of(request, caller)):
        listed = await while_connected(request, read_listed_frames(services, video))
        count = count_frames(listed)
        if count is not None and index >= count:
            raise frame_not_found(index, count)
        analyzing = services.probe_pool.call(analyze_frame, video.path, listed, index)
        found = await while_connected(request, analyzing)
    return JSONResponse(found, headers={"Cache-Control": _FOR_EVER, "Vary": "Authorization"})


async def picture_response(
    request: Request, services: Services, caller: str | None, wanted: WantedPicture, if_none_match: str | None
) -> Response:
    """Answer with a picture, or with 304.

    Raises:
        ProblemError: The frame cannot be read.
        FileNotFoundError: The video was deleted.
    """
    headers = {
        "ETag": wanted.etag,
        "Cache-Control": _FOR_EVER,
        "Vary": "Accept, Authorization",
    }
    if wanted.etag in (if_none_match or ""):
        return Response(status_code=304, headers=headers)
    picture = services.frame_cache.get(wanted.key)
    if picture is None:
        with services.builds.take(share_of(request, caller)):
            picture = await while_connected(request, make_picture(services, wanted))
    return Response(picture, media_type=f"image/{wanted.form}", headers=headers)


def format_of(accept: str | None) -> PictureFormat:
    """Return the format that an Accept header prefers (RFC 9110, section 12.5.1); JPEG if it has no preference."""
    weights: dict[str, float] = {}
    for entry in (accept or "*/*").lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        weights[kind] = next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)

    def weight(kind: str) -> float:
        return next((weights[name] for name in (kind, "image/*", "*/*") if name in weights), 0.0)

    return "webp" if weight("image/webp") > weight("image/jpeg") else "jpeg"


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
