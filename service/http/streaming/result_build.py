"""Makes result files, and reads them while they grow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio

from service.errors import StorageFullError
from service.http.context import ResultBuild, Services
from service.http.streaming.fetched import fetch_inputs, fetch_masks
from service.jobs.types import Job
from service.net.tracing import record
from service.runtime.threads import in_thread
from service.sandbox.export import Notes, render, render_files
from service.storage.job_files import JobFiles
from service.storage.mask_log_view import MaskLogView
from service.storage.space import Reservation
from service.writers.formats import FORMATS, Format
from vos.runtime.durable import part_of

_BLOCK = 1 << 18
_POLL_SECONDS = 0.05
_SOFT_GROWTH = 4
"""How many times the bytes of a log with soft masks their arrays in display size take: 3.7 to 4.2 for three clips."""


@contextmanager
def joined_build(services: Services, job: Job, name: str, caller: str | None) -> Iterator[ResultBuild]:
    """Yield the build of a result, and start it if there is none.

    All requests for the same result share one build. Once it has begun, it continues when their clients disconnect;
    while it waits for a process, it ends with its last request.

    Args:
        services: The services of the application.
        job: A job that has succeeded.
        name: A key of `FORMATS`.
        caller: Name of the API key of the request.
    """
    key = job.id, name
    build = services.result_builds.get(key) or _start(services, job, name, caller)
    build.clients += 1
    try:
        yield build
    finally:
        build.clients -= 1
        if not build.clients and not build.begun:
            _forget(services, key, build)  # at once, so that the next request starts anew
            build.task.cancel()


def _start(services: Services, job: Job, name: str, caller: str | None) -> ResultBuild:
    part = part_of(services.storage.job(job.id).result(FORMATS[name].file))
    build = ResultBuild(part, asyncio.create_task(_build(services, job, name, part, caller)))
    build.task.add_done_callback(lambda _task: _forget(services, (job.id, name), build))
    services.result_builds[job.id, name] = build
    return build


def _forget(services: Services, key: tuple[str, str], build: ResultBuild) -> None:
    if services.result_builds.get(key) is build:
        del services.result_builds[key]
    if build.task.done() and not build.task.cancelled():
        build.task.exception()  # reading it keeps asyncio from logging it as never retrieved


async def has_content(build: ResultBuild) -> bool:
    """Wait for the first bytes of the growing file; False if it is complete, or failed, before any were seen."""
    while not build.task.done():
        with suppress(FileNotFoundError):
            if (await in_thread(build.part.stat)).st_size:
                return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


async def read_growing(build: ResultBuild, path: Path) -> AsyncIterator[bytes]:
    """Yield the file to its end. An error of the build aborts the response, so that no client takes it for complete.

    Args:
        build: The build.
        path: The file's final path.
    """
    try:
        file = await in_thread(build.part.open, "rb")
    except FileNotFoundError:  # the file got its final name meanwhile
        file = await in_thread(path.open, "rb")
    with file:
        while True:
            is_done = build.task.done()  # before the read: if the build is done, an empty read is the end of the file
            if block := await in_thread(file.read, _BLOCK):
                yield block
            elif is_done:
                build.task.result()
                return
            else:
                await asyncio.sleep(_POLL_SECONDS)


async def _build(services: Services, job: Job, name: str, part: Path, caller: str | None) -> None:
    files = services.storage.job(job.id)
    began_at, failed = datetime.now(UTC), True
    with services.storage.reserve(job.api_key_id) as space:
        try:
            log = await fetch_masks(MaskLogView((await fetch_inputs(files)), job.segments))
            await in_thread(space.cover, await in_thread(_estimate, log, name))
            await in_thread(partial(part.parent.mkdir, exist_ok=True))
            async with services.export_pool.turn() as call:
                services.result_builds[job.id, name].begun = True
                building = call(render, job, name, render_files(job, files, name, part))
                notes = await _charge_growth(building, part, space)
            await anyio.to_thread.run_sync(_store, files, FORMATS[name], part, notes)
            await in_thread(space.keep, job.id)
            failed = False
        except Exception:
            await in_thread(part.unlink, missing_ok=True)  # first, so that nobody begins to read it
            await in_thread(services.store.get, job.id, caller)  # if the job was deleted meanwhile, raise that instead
            raise
        finally:
            about = {"keymask.job.id": job.id, "keymask.format": name}
            record("result", job.traceparent, (began_at, datetime.now(UTC)), about, failed=failed)
            await in_thread(part.unlink, missing_ok=True)  # a killed process leaves its file


def _store(files: JobFiles, form: Format, part: Path, notes: Notes) -> None:
    """Store a result and the notes on it, which come first: who finds the result finds its notes, too."""
    if form.is_video:
        written = part_of(files.result(form.notes_file))
        try:
            written.write_text(json.dumps(notes), encoding="utf-8")
            files.store_result(written, form.notes_file, "application/json")
        finally:
            written.unlink(missing_ok=True)
    files.store_result(part, form.file, form.media_type)


def read_notes(files: JobFiles, form: Format) -> list[str] | None:
    """Return the notes on a result, None if they are not known."""
    if files.find_result(form.notes_file) is None:
        return None
    notes: list[str] = json.loads(files.result(form.notes_file).read_text(encoding="utf-8"))
    return notes


def _estimate(log: MaskLogView, name: str) -> int:
    """Return roughly how many bytes a build will write: a video as many as the source, other results as the masks."""
    form = FORMATS[name]
    if form.is_video:
        return log.files.video.stat().st_size
    if form.is_soft:
        return log.size() * _SOFT_GROWTH
    return int(log.size() * log.share_of_masks()) * (2 if form.temporary_files(1) else 1)


async def _charge_growth(building: Awaitable[Notes], part: Path, space: Reservation) -> Notes:
    """Wait for a build and reserve space while its file grows; return its notes.

    A file without room is deleted, which stops the build.

    Raises:
        StorageFullError: There is no room for the file.
        Exception: Whatever the build raised.
    """
    build = asyncio.ensure_future(building)
    full: StorageFullError | None = None
    try:
        while not (await asyncio.wait({build}, timeout=_POLL_SECONDS))[0]:
            try:
                await in_thread(space.reach, await in_thread(_size, part))
            except StorageFullError as error:
                full = error
                await in_thread(part.unlink, missing_ok=True)
        return build.result()
    except Exception:
        if full is not None:
            raise full from None
        raise
    finally:
        build.cancel()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
