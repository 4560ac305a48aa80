"""Submits a job: upload, inspection, files, record. A refused submission leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import anyio
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from service.errors import IdempotencyConflictError, QueueFullError, StorageUnavailableError, TooManyJobsError
from service.http.context import Services
from service.http.limits.disconnect import while_connected
from service.http.limits.places import share_of
from service.http.multipart import Part, announced_bytes, receive_form
from service.http.schemas import WebhookRequest
from service.http.streaming.fetched import in_files_thread
from service.http.streaming.form_video import MAX_ID_BYTES, find_upload, link_video
from service.http.streaming.url_video import receive_url
from service.jobs.types import Job, JobProgress, Webhook, new_job_id
from service.net.input_urls import MAX_URL_BYTES
from service.net.tracing import current_traceparent
from service.net.webhooks import rules_of
from service.problems import ProblemError
from service.prompts.shapes import Shapes, frames_of, parse_shapes
from service.run.options import JobOptions, on_marked_frame
from service.runtime.threads import in_thread
from service.sandbox.handles import Output
from service.sandbox.inspection import InspectedJob, inspect_job
from service.sandbox.marking import store_prompts, write_mask
from service.storage.job_files import JobFiles
from service.storage.space import Reservation
from vos.weights.catalog import MODELS, read_record, weights_path

_MAX_OPTIONS_BYTES = _MAX_WEBHOOK_BYTES = 1 << 14
MAX_PROMPT_BYTES = 1 << 20
"""Largest `prompt`: hundreds of masks, or about 40,000 points."""
_REFUSALS = (IdempotencyConflictError, QueueFullError, TooManyJobsError)
"""Errors after which the database certainly has no row for the job."""


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """An accepted job.

    Attributes:
        job: The job.
        new: Whether this request created it, and not an earlier one with the same Idempotency-Key.
    """

    job: Job
    new: bool


async def submit_job(services: Services, request: Request, caller: str | None, key: str | None) -> SubmittedJob:
    """Receive a job and queue it.

    Args:
        services: The services of the application.
        request: The request; its body has not been read.
        caller: Name of the caller's API key.
        key: The request's Idempotency-Key.

    Raises:
        ServiceError: The job is refused; `service.errors.ERROR_MAPPINGS` has the reasons.
    """
    earlier = await in_thread(services.store.find, caller, key) if key else None
    with services.uploads.take(share_of(request, caller)):
        if earlier is not None:
            return await _receive_job(services, request, caller, key, earlier)
        async with services.coming_jobs.take(caller):
            return await _receive_job(services, request, caller, key, None)


async def _receive_job(
    services: Services, request: Request, caller: str | None, key: str | None, earlier: Job | None
) -> SubmittedJob:
    with services.storage.upload() as files, services.storage.reserve(caller) as space:
        parts = {
            "video": Part(int(services.settings.max_upload_bytes), files.video, required=False),
            "upload": Part(MAX_ID_BYTES, required=False),
            "url": Part(MAX_URL_BYTES, required=False),
            "mask": Part(int(services.settings.max_mask_bytes), files.mask, required=False),
            "prompt": Part(MAX_PROMPT_BYTES, required=False),
            "options": Part(_MAX_OPTIONS_BYTES, required=False),
            "webhook": Part(_MAX_WEBHOOK_BYTES, required=False),
        }
        digest = await receive_upload(services, request, parts, space)
        if earlier is not None:
            _check_same_payload(earlier, digest)
            return SubmittedJob(earlier, new=False)
        _check_one_prompt(parts)
        upload = await find_upload(services, caller, parts)
        if upload is not None:
            await in_thread(link_video, upload, files)
        if parts["url"].given:
            url = bytes(parts["url"].text).decode("utf-8", "replace").strip()
            await while_connected(request, receive_url(url, files.video, services.settings, space.charge))
        options = read_options(bytes(parts["options"].text))
        check_model(services, options)
        webhook = _read_webhook(services, bytes(parts["webhook"].text)) if parts["webhook"].given else None
        notes: tuple[str, ...] = ()
        shapes: Shapes = ()
        inspect = services.inspection_pool.call
        if parts["prompt"].given:
            shapes = await in_thread(_read_shapes, bytes(parts["prompt"].text), options)
            options = on_marked_frame(options, shapes)
            first = frames_of(shapes)[options.prompt_frame]
            marking = inspect(write_mask, files.video, Output(files.mask), first, options.prompt_frame, services.limits)
            notes = await while_connected(request, marking)
        inspecting = inspect(
            inspect_job, files.video, files.mask, options, services.limits, tuple({shape.object for shape in shapes})
        )
        inspected = await while_connected(request, inspecting)
        if len(frames_of(shapes)) > 1:
            size = inspected.video.width, inspected.video.height
            storing = inspect(store_prompts, files.video, Output(files.prompts), shapes, size, services.limits)
            marked = await while_connected(request, storing)
            inspected, notes = replace(inspected, prompt=marked.objects), marked.notes
        inspected = replace(inspected, notes=notes + inspected.notes)
        job = replace(_new_job(options, inspected, digest, caller, key), webhook=webhook)
        settings = services.settings
        await in_thread(services.store.check_time, job, options.model or settings.model, settings.job_seconds)
        # a long wait, so in no thread for brief calls
        await anyio.to_thread.run_sync(services.storage.persist, files, job.id)
        stored = await in_thread(store_job, services, files, space, job)
        if upload is not None:
            uploads = services.storage.uploads
            await in_files_thread(uploads, uploads.delete, upload.id)
            await in_thread(space.keep, stored.job.id)
        return stored


async def receive_upload(services: Services, request: Request, parts: Mapping[str, Part], space: Reservation) -> str:
    """Receive a form as `receive_form` does, with the limits and counters of the service."""
    await in_thread(space.cover, announced_bytes(request, parts.values()))
    return await receive_form(
        request,
        parts,
        least_rate=int(services.settings.min_upload_rate),
        received=services.metrics.upload_bytes.inc,
        charge=space.charge,
    )


def read_options(text: bytes) -> JobOptions:
    """Parse the form's part `options`.

    Raises:
        ProblemError: The part is not JSON, or has an unknown option or a value that is not allowed.
    """
    if not text.strip():
        return JobOptions()
    try:
        return JobOptions.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        first = found[0]
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        detail = f"{name} is {first['input']!r:.80}: {message}" if name else f"options: {message}"
        errors = [{"option": ".".join(str(part) for part in e["loc"]), "message": e["msg"]} for e in found]
        raise ProblemError("invalid-options", detail, errors=errors) from None


def _read_shapes(text: bytes, options: JobOptions) -> Shapes:
    """Parse the form's part `prompt`; each shape names its frame then."""
    marked = frames_of(parse_shapes(text, several=True), options.prompt_frame)
    return tuple(shape.model_copy(update={"frame": index}) for index, part in marked.items() for shape in part)


def _check_one_prompt(parts: Mapping[str, Part]) -> None:
    """Refuse a form that marks the objects in two ways, or not at all."""
    if parts["mask"].given == parts["prompt"].given:
        found = "both a part mask and a part prompt" if parts["mask"].given else "no part mask and no part prompt"
        raise ProblemError("invalid-parts", f"the form has {found}; exactly one of them marks the objects")


def check_model(services: Services, options: JobOptions) -> None:
    """Refuse a model that is unknown or whose weights are not installed.

    Raises:
        ProblemError: `invalid-options` or `model-unavailable`.
    """
    if options.model is None or options.model == services.settings.model:
        return
    if options.model not in MODELS:
        raise ProblemError(
            "invalid-options", f"model is {options.model!r:.80}; it must be one of {', '.join(MODELS)}", option="model"
        )
    path = weights_path(options.model, services.settings.weights_dir)
    if path is None or not path.is_file() or read_record(path) is None:
        raise ProblemError(
            "model-unavailable",
            f"the weights of {options.model} are not installed; the operator of the service installs them with "
            f"`keymask models pull {options.model}`",
        )


def _check_same_payload(job: Job, digest: str) -> None:
    if job.payload_sha256 != digest:
        raise IdempotencyConflictError("this Idempotency-Key was used for another video, mask, prompt or options")


def _read_webhook(services: Services, text: bytes) -> Webhook:
    """Parse the form's part `webhook`.

    Raises:
        ProblemError: It is not such JSON.
        UrlNotAllowedError: Nothing may be sent to its URL.
    """
    try:
        asked = WebhookRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in ("webhook", *first["loc"]))
        raise ProblemError("invalid-parts", f"{name} is {first['input']!r:.80}: {first['msg']}") from None
    return allowed_webhook(services, asked)


def allowed_webhook(services: Services, asked: WebhookRequest) -> Webhook:
    """Return the webhook that a client asks for.

    Raises:
        UrlNotAllowedError: Nothing may be sent to its URL.
    """
    rules_of(services.settings).check(asked.url)
    return Webhook(asked.url, tuple(dict.fromkeys(asked.events)))


def _new_job(options: JobOptions, inspected: InspectedJob, digest: str, caller: str | None, key: str | None) -> Job:
    return Job(
        id=new_job_id(),
        options=options,
        video=inspected.video,
        prompt=inspected.prompt,
        notes=inspected.notes,
        payload_sha256=digest,
        created_at=datetime.now(UTC),
        progress=JobProgress(total=options.mask_count(inspected.video.frames)),
        api_key_id=caller,
        idempotency_key=key,
    )


def store_job(services: Services, files: JobFiles, space: Reservation, job: Job) -> SubmittedJob:
    """Store the files, then the record: a record without files would be a job that cannot run."""
    services.storage.adopt(files, job.id)
    space.keep(job.id)
    try:
        stored, new = _create(services, job)
    except _REFUSALS:
        with suppress(StorageUnavailableError):  # the sweep deletes them later
            services.storage.delete(job.id)
        raise
    if new:
        services.engine.wake()
    else:
        with suppress(StorageUnavailableError):
            services.storage.delete(job.id)
    return SubmittedJob(stored, new)


def _create(services: Services, job: Job) -> tuple[Job, bool]:
    """Create the record as `JobStore.create` does.

    If the answer of the database was lost, the job may exist all the same, or may come to exist a moment later. Its
    files stay in any case: the sweep removes them if no job appears.
    """
    try:
        return services.store.create(replace(job, traceparent=current_traceparent()), services.queue_limits)
    except SQLAlchemyError:
        if not services.store.known([job.id]):
            raise
        return job, True
