"""`/v1/uploads`: videos that arrive in several requests, by tus 1.0 (https://tus.io/protocols/resumable-upload)."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import JSONResponse

from service.http.context import Services
from service.http.dependencies import COMMON, CallerDep, ServicesDep, check_open, root_of
from service.http.limits.disconnect import while_connected
from service.http.limits.places import share_of
from service.http.problem_responses import TUS_VERSION, document_problems
from service.http.routes.frames import (
    ANALYSIS,
    FRAME_PROBLEMS,
    PICTURE,
    Accept,
    FrameIndex,
    IfNoneMatch,
    Width,
    analysis_response,
    format_of,
    picture_response,
)
from service.http.schemas import UploadView, Video
from service.http.streaming import form_video
from service.http.streaming.fetched import in_files_thread
from service.http.streaming.frame_pictures import StoredVideo, WantedPicture, read_listed_frames
from service.http.streaming.resumable_upload import CONTENT_TYPE, receive_part
from service.jobs.types import JobVideo
from service.problems import ProblemError
from service.sandbox.frames import count_frames
from service.sandbox.inspection import describe_video, probe_upload
from service.storage.uploads import StoredUpload, upload_not_found


async def check_version(tus_resumable: Annotated[str | None, Header(description="`1.0.0`.")] = None) -> None:
    """Refuse a client that speaks another version.

    Raises:
        ProblemError: `tus-version-not-supported`.
    """
    if tus_resumable != TUS_VERSION:
        given = "nothing" if tus_resumable is None else repr(tus_resumable[:40])
        raise ProblemError("tus-version-not-supported", f"Tus-Resumable is {given}; it must be {TUS_VERSION}")


async def get_upload(
    services: ServicesDep, caller: CallerDep, upload_id: Annotated[str, Path(description="Id of the upload.")]
) -> StoredUpload:
    """Return the upload of the path if the caller may see it.

    Raises:
        ProblemError: There is none.
    """
    return await form_video.get_upload(services, upload_id, caller)


UploadDep: TypeAlias = Annotated[StoredUpload, Depends(get_upload)]


async def get_complete_upload(
    services: ServicesDep, caller: CallerDep, upload_id: Annotated[str, Path(description="Id of the upload.")]
) -> StoredUpload:
    """Return the upload of the path, with its bytes in a file, if it has arrived completely.

    Raises:
        ProblemError: It has not, or there is none.
    """
    return await form_video.fetch_upload(services, upload_id, caller)


CompleteDep: TypeAlias = Annotated[StoredUpload, Depends(get_complete_upload)]
Bytes: TypeAlias = Annotated[int, Header(ge=0, le=1 << 50)]

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_VERSION = (*COMMON, "tus-version-not-supported")
_ARRIVING = ("unsupported-media-type", "upload-too-large", "upload-interrupted", "upload-locked",
             "upload-offset-mismatch", "storage-full", "too-many-requests", "busy", "not-ready")  # fmt: skip
_READING = (*FRAME_PROBLEMS, "upload-not-found", "upload-incomplete", "video-too-long")
_TEXT = {"schema": {"type": "string"}}
_STATE = {"Upload-Offset": _TEXT, "Upload-Expires": _TEXT, "Tus-Resumable": _TEXT}
_BODY = {"content": {CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
_REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "As `POST /v1/probe` answers.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": {"frames": 90, "complete": True}}},
    }
}


@router.options(
    "", status_code=204, summary="Read what the upload protocol offers", responses=document_problems(*COMMON)
)
async def read_capabilities(services: ServicesDep, _caller: CallerDep) -> Response:
    """Version, extensions and largest size, as headers."""
    headers = {
        "Tus-Resumable": TUS_VERSION,
        "Tus-Version": TUS_VERSION,
        "Tus-Extension": "creation,creation-with-upload,termination,expiration",
        "Tus-Max-Size": str(int(services.settings.max_upload_bytes)),
    }
    return Response(status_code=204, headers=headers)


@router.post(
    "",
    status_code=201,
    response_model=UploadView,
    summary="Begin a resumable upload",
    responses=document_problems(*_VERSION, *_ARRIVING, "too-many-uploads")
    | {201: {"description": "The upload.", "headers": {"Location": _TEXT, **_STATE}}},
    openapi_extra={"requestBody": {"required": False, **_BODY}},
    dependencies=[Depends(check_open), Depends(check_version)],
)
async def create_upload(
    *,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    upload_length: Annotated[int, Header(ge=1, le=1 << 50, description="Number of bytes of the video.")],
    upload_metadata: Annotated[str | None, Header(description="Ignored.")] = None,  # noqa: ARG001 - documents it
) -> Response:
    """Announce a video. Its bytes follow with `PATCH`; the first may be the body of this request."""
    allowed = int(services.settings.max_upload_bytes)
    if upload_length > allowed:
        raise ProblemError(
            "upload-too-large", f"the video has {upload_length} bytes; allowed: {allowed}", part="video", limit=allowed
        )
    with services.uploads.take(share_of(request, caller)):
        most = services.settings.max_kept_uploads
        uploads, create = services.storage.uploads, services.storage.create_upload
        upload = await in_files_thread(uploads, create, caller, upload_length, most)
        if request.headers.get("content-type", "").startswith(CONTENT_TYPE):
            await receive_part(services, request, upload, 0)
            upload = await form_video.get_upload(services, upload.id, caller)
    headers = {"Location": f"{root_of(request)}/v1/uploads/{upload.id}"}
    return _state(services, upload, 201, headers)


@router.get(
    "/{upload_id}",
    response_model=UploadView,
    summary="Read how far an upload is",
    responses=document_problems(*COMMON, "upload-not-found") | {200: {"headers": {"Upload-Length": _TEXT, **_STATE}}},
)
async def read_upload(services: ServicesDep, upload: UploadDep) -> Response:
    """Where to continue. `HEAD` answers with the same headers, which is what the protocol asks for."""
    return _state(services, upload, 200)


@router.patch(
    "/{upload_id}",
    status_code=204,
    summary="Continue an upload",
    responses=document_problems(*_VERSION, *_ARRIVING, "upload-not-found")
    | {204: {"description": "The bytes up to `Upload-Offset` are stored.", "headers": _STATE}},
    openapi_extra={"requestBody": {"required": True, **_BODY}},
    dependencies=[Depends(check_open), Depends(check_version)],
)
async def continue_upload(
    *, request: Request, services: ServicesDep, caller: CallerDep, upload: UploadDep, upload_offset: Bytes
) -> Response:
    """Append the body. Bytes that arrived before a connection was lost count, so ask with `HEAD` where to continue."""
    with services.uploads.take(share_of(request, caller)):
        await receive_part(services, request, upload, upload_offset)
    upload = await form_video.get_upload(services, upload.id, caller)
    return Response(status_code=204, headers=_headers(services, upload))


@router.delete(
    "/{upload_id}",
    status_code=204,
    summary="Delete an upload",
    responses=document_problems(*_VERSION, "upload-not-found"),
    dependencies=[Depends(check_version)],
)
async def delete_upload(services: ServicesDep, upload: UploadDep) -> Response:
    """Delete the upload with its bytes. One that is left alone is deleted after `KEYMASK_UPLOAD_SECONDS`."""
    uploads = services.storage.uploads
    await in_files_thread(uploads, uploads.delete, upload.id)
    return Response(status_code=204, headers={"Tus-Resumable": TUS_VERSION})


@router.get(
    "/{upload_id}/video",
    response_model=Video,
    summary="Read the properties of an upload",
    responses=document_problems(*_READING),
)
async def read_upload_video(
    request: Request, services: ServicesDep, caller: CallerDep, upload: CompleteDep
) -> Response:
    """Size, rate and length, without decoding all of the video. `frames` is exact wherever timestamps tell."""
    with services.uploads.take(share_of(request, caller)):
        try:
            described: JobVideo = await while_connected(
                request, services.inspection_pool.call(describe_video, upload.video, services.limits)
            )
            stored = StoredVideo(upload.id, upload.video)
            frames = count_frames(await while_connected(request, read_listed_frames(services, stored)))
        except FileNotFoundError:
            raise upload_not_found(upload.id) from None
    view = Video.model_validate(described, from_attributes=True)
    return JSONResponse(view.model_copy(update={} if frames is None else {"frames": frames}).model_dump(mode="json"))


@router.get("/{upload_id}/probe", summary="Probe an upload", responses=document_problems(*_READING) | _REPORT)
async def probe_uploaded(request: Request, services: ServicesDep, caller: CallerDep, upload: CompleteDep) -> Response:
    """Decode an upload and report what its bitstream offers, as `POST /v1/probe` does."""
    with services.uploads.take(share_of(request, caller)):
        try:
            probing = services.probe_pool.call(probe_upload, upload.video, services.limits)
            return JSONResponse(await while_connected(request, probing))
        except FileNotFoundError:
            raise upload_not_found(upload.id) from None


@router.get(
    "/{upload_id}/frames/{index}",
    summary="Read one frame of an upload",
    response_class=Response,
    responses=document_problems(*_READING) | PICTURE,
)
async def read_upload_frame(
    *,
    request: Request,
    upload: CompleteDep,
    services: ServicesDep,
    caller: CallerDep,
    index: FrameIndex,
    width: Width = None,
    accept: Accept = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The picture of one frame, as of a job's video."""
    wanted = WantedPicture(StoredVideo(upload.id, upload.video), index, width, format_of(accept))
    try:
        return await picture_response(request, services, caller, wanted, if_none_match)
    except FileNotFoundError:
        raise upload_not_found(upload.id) from None


@router.get(
    "/{upload_id}/frames/{index}/analysis",
    summary="Read motion and residual of one frame of an upload",
    responses=document_problems(*_READING) | ANALYSIS,
)
async def analyze_upload_frame(
    request: Request, upload: CompleteDep, services: ServicesDep, caller: CallerDep, index: FrameIndex
) -> Response:
    """What the bitstream says about one frame, as of a job's video."""
    try:
        return await analysis_response(request, services, caller, StoredVideo(upload.id, upload.video), index)
    except FileNotFoundError:
        raise upload_not_found(upload.id) from None


def _headers(services: Services, upload: StoredUpload) -> dict[str, str]:
    expires = upload.changed_at + timedelta(seconds=services.settings.upload_seconds)
    return {
        "Tus-Resumable": TUS_VERSION,
        "Upload-Offset": str(upload.offset),
        "Upload-Expires": format_datetime(expires, usegmt=True),
        "Cache-Control": "no-store",
    }


def _state(
    services: Services, upload: StoredUpload, status: int, headers: dict[str, str] | None = None
) -> JSONResponse:
    view = UploadView(
        id=upload.id,
        offset=upload.offset,
        length=upload.length,
        complete=upload.is_complete,
        expires_at=upload.changed_at + timedelta(seconds=services.settings.upload_seconds),
    )
    own = _headers(services, upload) | {"Upload-Length": str(upload.length)} | (headers or {})
    return JSONResponse(view.model_dump(mode="json"), status, headers=own)
