"""The video of a form: sent with it, or named by the id of an upload or a job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from service.http.context import Services
from service.http.multipart import Part
from service.http.streaming.fetched import fetch_inputs, in_files_thread
from service.jobs.types import is_job_id
from service.problems import ProblemError
from service.runtime.threads import in_thread
from service.storage.job_files import JobFiles
from service.storage.uploads import StoredUpload, upload_not_found

MAX_ID_BYTES = 64
"""Largest part with the id of an upload or a job."""


async def find_upload(services: Services, caller: str | None, parts: Mapping[str, Part]) -> StoredUpload | None:
    """Return the upload that a form names in place of a video; None if the form has a video or names its URL.

    Raises:
        ProblemError: The form has several of them, or none; or there is no such upload, or it is not complete.
    """
    if _given(parts, ("video", "upload", "url")) != "upload":
        return None
    return await fetch_upload(services, _text(parts["upload"]), caller)


async def find_video(services: Services, caller: str | None, parts: Mapping[str, Part], files: JobFiles) -> Path:
    """Return the file of the video that a form has, or whose upload or job it names.

    Raises:
        ProblemError: The form has several, or none; or there is no such upload or job, or it is not complete.
    """
    kind = _given(parts, ("video", "upload", "job"))
    if kind == "upload":
        return (await fetch_upload(services, _text(parts["upload"]), caller)).video
    if kind == "job":
        job_id = _text(parts["job"])
        if not is_job_id(job_id):
            raise video_gone(parts)
        job = await in_thread(services.store.get, job_id, caller)
        try:
            return (await fetch_inputs(services.storage.job(job.id))).video
        except FileNotFoundError:
            raise video_gone(parts) from None
    return files.video


def video_gone(parts: Mapping[str, Part]) -> ProblemError:
    """Return the problem of an upload or a job that a form names, and that does not exist, or no longer."""
    if parts["upload"].given:
        return upload_not_found(_text(parts["upload"]))
    return ProblemError("job-not-found", f"there is no job {_text(parts['job'])!r}")


def _given(parts: Mapping[str, Part], names: tuple[str, ...]) -> str:
    """Return which of these parts a form has.

    Raises:
        ProblemError: It has several, or none.
    """
    found = [name for name in names if parts[name].given]
    if len(found) != 1:
        has = f"the parts {' and '.join(found)}" if found else f"no part {' and no part '.join(names)}"
        raise ProblemError("invalid-parts", f"the form has {has}; exactly one of them is the video")
    return found[0]


def _text(part: Part) -> str:
    return bytes(part.text).decode("utf-8", "replace").strip()


async def get_upload(services: Services, upload_id: str, caller: str | None) -> StoredUpload:
    """Return an upload of this caller.

    Raises:
        ProblemError: There is none.
    """
    uploads = services.storage.uploads
    return await in_files_thread(uploads, uploads.get, upload_id, caller)


async def fetch_upload(services: Services, upload_id: str, caller: str | None) -> StoredUpload:
    """Return an upload that has arrived completely, once its bytes are in its file.

    Raises:
        ProblemError: It has not, or there is none.
    """
    upload = await get_upload(services, upload_id, caller)
    if not upload.is_complete:
        raise ProblemError("upload-incomplete", f"{upload.offset} of the {upload.length} bytes have arrived")
    uploads = services.storage.uploads
    if uploads.is_copy:
        await in_files_thread(uploads, uploads.fetch, upload)
    return upload


def link_video(upload: StoredUpload, files: JobFiles) -> None:
    """Give the video of an upload a second name, so that a refused job leaves the upload as it was."""
    try:
        files.video.hardlink_to(upload.video)
    except FileNotFoundError:
        raise upload_not_found(upload.id) from None
