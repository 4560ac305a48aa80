"""Receives the next part of a resumable upload. Whatever arrived before a connection is lost counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

import anyio
from starlette.requests import ClientDisconnect, Request

from service.errors import DISK_FULL, StorageFullError, StorageUnavailableError
from service.http.context import Services
from service.http.multipart import BLOCK, at_rate, drain
from service.http.streaming.fetched import in_files_thread
from service.problems import ProblemError
from service.storage.uploads import StoredUpload, UploadWriter

CONTENT_TYPE = "application/offset+octet-stream"


async def receive_part(services: Services, request: Request, upload: StoredUpload, offset: int) -> int:
    """Append the body of a request to an upload; return the new offset, up to which all bytes are on the disk.

    Args:
        services: The services of the application.
        request: The request; its body has not been read.
        upload: The upload.
        offset: Where the client believes that the upload continues.

    Raises:
        ProblemError: The offset is wrong, the upload is locked, or the body is too large, too slow or cut off.
        StorageFullError: The disk is full.
    """
    _check_body(request, upload, offset)
    with ExitStack() as held:
        uploads = services.storage.uploads
        writer = await in_files_thread(uploads, held.enter_context, uploads.writing(upload, offset))
        chunks = request.stream()
        try:
            await _append(services, at_rate(chunks, int(services.settings.min_upload_rate)), writer, upload.length)
        except ClientDisconnect:
            raise ProblemError("upload-interrupted", "the client closed the connection before the end") from None
        except (ProblemError, StorageFullError, StorageUnavailableError):
            await drain(chunks)
            raise
        return writer.offset


def _check_body(request: Request, upload: StoredUpload, offset: int) -> None:
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise ProblemError(
            "unsupported-media-type", f"the content type is {kind[:80] or 'none'!r}; allowed: {CONTENT_TYPE}"
        )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and offset + int(announced) > upload.length:
        raise _too_large(upload.length)


async def _append(services: Services, chunks: AsyncIterator[bytes], writer: UploadWriter, length: int) -> None:
    """Write chunks in blocks, and commit what has arrived, also if an error ends them."""
    blocks: list[bytes] = []
    waiting = 0
    try:
        async for chunk in chunks:
            services.metrics.upload_bytes.inc(len(chunk))
            if writer.offset + waiting + len(chunk) > length:
                raise _too_large(length)
            blocks.append(chunk)
            waiting += len(chunk)
            if waiting >= BLOCK:
                is_due = writer.offset + waiting - writer.committed >= writer.commit_bytes
                block, blocks, waiting = blocks, [], 0
                await anyio.to_thread.run_sync(_write, writer, block, is_due)
    finally:
        await anyio.to_thread.run_sync(_write, writer, blocks, True)


def _write(writer: UploadWriter, blocks: list[bytes], commit: bool) -> None:
    try:
        writer.write(blocks)
        if commit:
            writer.commit()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise ProblemError("upload-not-found", "the upload was deleted") from None
        if error.errno in DISK_FULL:
            raise StorageFullError("the disk is full") from error
        raise


def _too_large(length: int) -> ProblemError:
    return ProblemError("upload-too-large", f"the upload has {length} bytes; the body goes beyond them", limit=length)
