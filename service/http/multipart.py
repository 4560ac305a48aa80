"""Receives a multipart form. Files go to disk while they arrive, up to their limit, and never into memory."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from service.errors import DISK_FULL, StorageFullError
from service.problems import ProblemError

BLOCK = 1 << 20
"""Bytes that are collected before they are written."""
_OVERHEAD = 1 << 16
"""Bytes that a body may have for boundaries and part headers."""
_DRAIN_BYTES = 64 << 20
_DRAIN_SECONDS = 2.0
_BEHIND_SECONDS = 30.0
"""How far an upload may fall behind the least rate."""


@dataclass(slots=True)
class Part:
    """A part that a form may have.

    Attributes:
        limit: Largest size in bytes.
        path: File to write; None keeps the part in memory.
        required: Whether the form must have the part.
        size: Bytes received so far.
        text: The part, if it is kept in memory.
        given: Whether the form has the part.
        digest: SHA-256 of the bytes received so far.
    """

    limit: int
    path: Path | None = None
    required: bool = True
    size: int = 0
    text: bytearray = field(default_factory=bytearray)
    given: bool = False
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)


def announced_bytes(request: Request, parts: Iterable[Part]) -> int:
    """Return the size that the request announces, at most the sum of the parts' limits; 0 if it announces none."""
    length = request.headers.get("content-length", "")
    return min(int(length) if length.isdecimal() else 0, sum(part.limit for part in parts))


async def receive_form(
    request: Request,
    parts: Mapping[str, Part],
    *,
    least_rate: int,
    received: Callable[[int], None],
    charge: Callable[[int], None],
) -> str:
    """Read the request's body into `parts`.

    Args:
        request: The request; its body has not been read.
        parts: Name -> part. Names sent by the client serve only to find the part here.
        least_rate: Bytes per second that have to arrive.
        received: Called with the size of each chunk.
        charge: Called in a thread with the number of bytes about to be written; it raises an error if there is no room.

    Returns:
        Hexadecimal SHA-256 of all parts. It does not depend on their order or on the boundary.

    Raises:
        ProblemError: The body is not such a form, is too large, or arrives too slowly.
        StorageFullError: There is no room for the files.
    """
    form = _Form(_boundary(request), parts, charge)
    chunks = request.stream()
    try:
        _check_length(request, parts)
        async for chunk in at_rate(chunks, least_rate):
            received(len(chunk))
            form.feed(chunk)
            if form.unwritten >= BLOCK:
                await anyio.to_thread.run_sync(form.flush)
        await anyio.to_thread.run_sync(form.flush)
        return form.finish()
    except ClientDisconnect:
        raise ProblemError("upload-interrupted", "the client closed the connection before the end") from None
    except (ProblemError, StorageFullError):
        await drain(chunks)
        raise
    finally:
        form.close()


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        given = kind.decode("latin-1") or "none"
        raise ProblemError("unsupported-media-type", f"the content type is {given!r}; allowed: multipart/form-data")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise ProblemError("invalid-multipart", "the content type names no boundary of 1 to 70 characters")
    return boundary


def _check_length(request: Request, parts: Mapping[str, Part]) -> None:
    text = request.headers.get("content-length", "")
    allowed = sum(part.limit for part in parts.values()) + _OVERHEAD
    if text.isdecimal() and int(text) > allowed:
        raise ProblemError(
            "upload-too-large", f"the body has {text} bytes; allowed: {allowed} for all parts together", limit=allowed
        )


async def at_rate(chunks: AsyncIterator[bytes], rate: int) -> AsyncIterator[bytes]:
    """Yield the chunks, and give up on a client that falls behind the rate. Time between the reads does not count.

    Raises:
        ProblemError: `upload-interrupted`.
    """
    left, clock = _BEHIND_SECONDS, asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            with anyio.fail_after(left):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise ProblemError(
                "upload-interrupted",
                f"the body arrives too slowly: it is {_BEHIND_SECONDS:g} s behind {rate:,} bytes per second, the least "
                "rate allowed",
            ) from None
        if chunk is None:
            return
        left = min(_BEHIND_SECONDS, left - (clock() - began) + len(chunk) / rate)
        yield chunk


async def drain(chunks: AsyncIterator[bytes]) -> None:
    """Read on for a while, because many clients read the answer only after they have sent everything."""
    left = _DRAIN_BYTES
    with anyio.move_on_after(_DRAIN_SECONDS):
        try:
            async for chunk in chunks:
                left -= len(chunk)
                if left <= 0:
                    break
        except (ClientDisconnect, RuntimeError):  # RuntimeError: the stream was already read to its end
            return


class _Form:
    """Parses a body. `feed` only collects blocks and `flush` writes them, so that `flush` can run in a thread."""

    def __init__(self, boundary: bytes, parts: Mapping[str, Part], charge: Callable[[int], None]) -> None:
        self.unwritten = 0
        self._parts = parts
        self._charge = charge
        self._blocks: list[tuple[Part, bytes]] = []
        self._files: dict[int, BinaryIO] = {}
        self._current: Part | None = None
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse a chunk of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise ProblemError("invalid-multipart", f"the body is malformed: {error}") from None

    def flush(self) -> None:
        """Write the collected blocks."""
        self._charge(self.unwritten)
        blocks, self._blocks, self.unwritten = self._blocks, [], 0
        try:
            for part, block in blocks:
                part.digest.update(block)
                if part.path is None:
                    part.text += block
                else:
                    self._file(part).write(block)
            for file in self._files.values():
                file.flush()
        except OSError as error:
            if error.errno in (*DISK_FULL, errno.EFBIG):
                raise StorageFullError("the disk is full") from error
            raise

    def finish(self) -> str:
        """Check that the form is complete; return the digest of its parts."""
        if not self._complete:
            raise ProblemError("invalid-multipart", "the body ends before its closing boundary")
        missing = [name for name, part in self._parts.items() if part.required and not part.given]
        if missing:
            raise ProblemError("invalid-parts", f"the form has no part {' and no part '.join(missing)}")
        digest = hashlib.sha256()
        for name, part in sorted(self._parts.items()):
            digest.update(f"{name} {part.given} {part.digest.hexdigest()}\n".encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Close the files; `flush` has reported what could not be written."""
        for file in self._files.values():
            with suppress(OSError):
                file.close()

    def _file(self, part: Part) -> BinaryIO:
        assert part.path is not None
        if id(part) not in self._files:
            self._files[id(part)] = part.path.open("wb")
        return self._files[id(part)]

    def _part_begin(self) -> None:
        self._current, self._disposition = None, b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        part = self._parts.get(name)
        if part is None:
            allowed = ", ".join(self._parts)
            raise ProblemError("invalid-parts", f"the form has a part named {name[:40]!r}; allowed: {allowed}")
        if part.given:
            raise ProblemError("invalid-parts", f"the form has the part {name} twice")
        part.given = True
        self._current = part
        self._blocks.append((part, b""))  # creates the file even if it is empty

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current
        if part is None:
            return
        part.size += end - start
        if part.size > part.limit:
            name = next(name for name, own in self._parts.items() if own is part)
            raise ProblemError(
                "upload-too-large", f"{name} has more than the {part.limit} bytes allowed", part=name, limit=part.limit
            )
        self._blocks.append((part, data[start:end]))
        self.unwritten += end - start

    def _end(self) -> None:
        self._complete = True
