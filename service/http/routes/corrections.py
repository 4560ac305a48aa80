"""Corrections of a job: new prompts on any of its frames, the versions they make, and undoing them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import IdempotencyConflictError, JobNotFoundError
from service.http.context import Services
from service.http.dependencies import COMMON, CallerDep, JobDep, ServicesDep, check_open, root_of
from service.http.limits.body import receive_json
from service.http.limits.disconnect import while_connected
from service.http.limits.places import share_of
from service.http.problem_responses import document_problems
from service.http.routes.jobs import CREATED, POLL_SECONDS, IdempotencyKey, headers_of, job_response
from service.http.schemas import JobVersions, JobView, WebhookRequest
from service.http.streaming.fetched import fetch_inputs, fetch_masks
from service.http.submission import MAX_PROMPT_BYTES, SubmittedJob, allowed_webhook, store_job
from service.jobs.types import Job, JobProgress, JobStatus, Webhook, new_job_id
from service.problems import ProblemError
from service.prompts.shapes import Shapes, parse_shapes
from service.run.options import JobOptions
from service.runtime.threads import in_thread
from service.sandbox.handles import Output
from service.sandbox.marking import store_correction
from service.storage.correction_files import link_parent
from service.storage.mask_log_view import MaskLogView

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_PROBLEMS = (
    *COMMON, "job-not-found", "job-not-succeeded", "invalid-options", "unsupported-media-type", "upload-too-large",
    "upload-interrupted", "mask-unusable", "too-many-objects", "video-undecodable", "idempotency-conflict",
    "queue-full", "too-many-jobs", "storage-full", "too-many-requests", "busy", "not-ready", "url-not-allowed",
)  # fmt: skip
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["prompt"],
                    "additionalProperties": False,
                    "properties": {
                        "prompt": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"$ref": "#/components/schemas/ShapePrompt"},
                            "description": "What objects are on which frames; each entry needs a `frame`.",
                        },
                        "webhook": {
                            "anyOf": [{"$ref": "#/components/schemas/WebhookRequest"}, {"type": "null"}],
                            "description": "Where the events of the correction are sent: by default as those of the "
                            "job; null: nowhere.",
                        },
                    },
                },
                "example": {
                    "prompt": [
                        {"frame": 120, "object": 2, "box": [120, 80, 200, 310]},
                        {"frame": 150, "object": 1, "absent": True},
                    ]
                },
            }
        },
    }
}


class _Body(BaseModel):
    """The body of a correction; `prompt` is checked by `parse_shapes`."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[list[Any], Field(min_length=1)]
    webhook: WebhookRequest | None = None


@router.post(
    "/{job_id}/corrections",
    status_code=202,
    response_model=JobView,
    summary="Correct a job",
    responses=document_problems(*_PROBLEMS) | CREATED,
    openapi_extra=_BODY,
    dependencies=[Depends(check_open)],
)
async def create_correction(
    request: Request, job: JobDep, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> Response:
    """Give masks, boxes or points of objects on frames of a job that have masks.

    The answer is a new job. It computes the frames that the correction can change; the other masks are those of the
    job before, which stays as it is. Of a job that runs, failed or was canceled, it takes the masks that exist now, and
    computes all frames after them, too. A job that runs goes on.
    """
    with services.uploads.take(share_of(request, caller)):
        rate = int(services.settings.min_upload_rate)
        body = await receive_json(request, MAX_PROMPT_BYTES, rate)
        digest = hashlib.sha256(f"{job.id} ".encode() + body).hexdigest()
        earlier = await in_thread(services.store.find, caller, idempotency_key) if idempotency_key else None
        if earlier is not None:
            if earlier.payload_sha256 != digest:
                raise IdempotencyConflictError("this Idempotency-Key was used for another job or correction")
            submitted = SubmittedJob(earlier, new=False)
        else:
            asked = await in_thread(_read, body, job)
            shapes = await in_thread(_read_shapes, asked, job)
            new = replace(_new_job(job, shapes, digest, idempotency_key), webhook=_webhook_of(services, asked, job))
            async with services.coming_jobs.take(caller):
                submitted = await _submit(services, request, job, shapes, new)
    return job_response(request, submitted.job, 202, headers_of(request, submitted) | {"Retry-After": POLL_SECONDS})


@router.get(
    "/{job_id}/versions",
    response_model=JobVersions,
    summary="List the versions of a job",
    responses=document_problems(*COMMON, "job-not-found"),
)
async def list_versions(request: Request, job: JobDep, services: ServicesDep) -> Response:
    """The first job and all its corrections that exist, the oldest first; `corrects` says which one corrects which."""
    found = await in_thread(services.store.versions, job)
    view = JobVersions(versions=[JobView.of(version, root_of(request)) for version in found])
    return JSONResponse(view.model_dump(mode="json"), headers={"Cache-Control": "no-store"})


@router.post(
    "/{job_id}/undo",
    response_model=JobView,
    summary="Undo a correction",
    responses=document_problems(*COMMON, "job-not-found", "nothing-to-undo"),
)
async def undo_correction(request: Request, job: JobDep, services: ServicesDep, caller: CallerDep) -> Response:
    """Stop a correction if it runs, delete it, and answer with the job that it corrects."""
    if job.corrects is None:
        raise ProblemError("nothing-to-undo", f"job {job.id} corrects no other job")
    try:
        before = await in_thread(services.store.get, job.corrects, caller)
    except JobNotFoundError:
        raise ProblemError(
            "nothing-to-undo",
            f"job {job.corrects}, which job {job.id} corrects, was deleted or has expired; the correction stays",
        ) from None
    await in_thread(services.store.request_delete, job.id)
    services.watcher.changed(job.id)
    services.engine.wake()
    return job_response(request, before, 200)


def _read(body: bytes, job: Job) -> _Body:
    """Parse the body of a correction.

    Raises:
        ProblemError: It is not such a body, or the job cannot be corrected.
    """
    if not job.progress.done:
        raise ProblemError("job-not-succeeded", f"the job is {job.status} and has no mask to correct")
    try:
        return _Body.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, found["loc"])) or "the body"
        raise ProblemError("invalid-request", f"{place}: {found['msg'][0].lower()}{found['msg'][1:]}") from None


def _read_shapes(asked: _Body, job: Job) -> Shapes:
    """Parse the prompts of a correction and check them against the job.

    Raises:
        UsageError: They are no prompts.
        ProblemError: The job has no masks of these frames.
    """
    shapes = parse_shapes(json.dumps(asked.prompt), several=True)
    first, end = job.options.first_frame, job.options.first_frame + job.progress.done
    for shape in shapes:
        if shape.frame is None:
            raise ProblemError("invalid-options", f"object {shape.object} has no frame; each entry needs one")
        if not first <= shape.frame < end:
            raise ProblemError(
                "invalid-options", f"frame is {shape.frame}; the job has masks of the frames {first} to {end - 1}"
            )
    return shapes


def _webhook_of(services: Services, asked: _Body, job: Job) -> Webhook | None:
    """Return the webhook of a correction: by default that of its job.

    Raises:
        UrlNotAllowedError: Nothing may be sent to the URL.
    """
    if "webhook" not in asked.model_fields_set:
        return job.webhook
    return None if asked.webhook is None else allowed_webhook(services, asked.webhook)


def _new_job(job: Job, shapes: Shapes, digest: str, key: str | None) -> Job:
    return Job(
        id=new_job_id(),
        options=_with_names(job.options, shapes),
        video=job.video,
        payload_sha256=digest,
        created_at=datetime.now(UTC),
        progress=JobProgress(total=_frames_of(job)),
        api_key_id=job.api_key_id,
        idempotency_key=key,
        corrects=job.id,
        origin=job.origin or job.id,
    )


def _frames_of(job: Job) -> int | None:
    """Return how many masks a correction of the job has; None if unknown."""
    if job.status is JobStatus.SUCCEEDED:
        return job.progress.done
    return job.options.mask_count(job.video.frames)


def _with_names(options: JobOptions, shapes: Shapes) -> JobOptions:
    """Return the options with the names that the prompts give to objects."""
    names = {shape.object: shape.label for shape in shapes if shape.label is not None}
    return options.model_copy(update={"labels": (options.labels or {}) | names}) if names else options


async def _submit(services: Services, request: Request, job: Job, shapes: Shapes, new: Job) -> SubmittedJob:
    """Link the files of the job, store the prompts, and queue the correction."""
    parent = services.storage.job(job.id)
    with services.storage.upload() as files, services.storage.reserve(job.api_key_id) as space:
        try:
            await fetch_inputs(parent)
        except FileNotFoundError:
            raise JobNotFoundError(f"job {job.id} was deleted or has expired") from None
        await fetch_masks(MaskLogView(parent, job.segments))
        await in_thread(link_parent, job, parent, files)
        several = await in_thread(parent.prompts.exists)
        storing = services.inspection_pool.call(
            store_correction,
            files.video,
            Output(files.prompts),
            shapes,
            mask=None if several else parent.mask,
            before=parent.prompts if several else None,
            options=job.options,
            size=(job.video.width, job.video.height),
            limits=services.limits,
        )
        try:
            marked = await while_connected(request, storing)
        except FileNotFoundError:
            raise JobNotFoundError(f"job {job.id} was deleted or has expired") from None
        replaced = {(item.frame, item.object) for item in marked.objects}
        kept = tuple(item for item in job.prompt if (item.frame, item.object) not in replaced)
        new = replace(new, prompt=kept + marked.objects, notes=marked.notes)
        await anyio.to_thread.run_sync(partial(services.storage.persist, files, new.id, video_of=job.id))
        return await in_thread(store_job, services, files, space, new)
