"""The page: `/`, its files below `/static/`, and `/v1/sample`, a clip to try it with.

The files are few and small, so they are read once and kept in memory, which also leaves no path to check.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import PlainTextResponse

from service.http.dependencies import COMMON, CallerDep, root_of
from service.http.openapi import BINARY
from service.http.problem_responses import document_problems
from service.problems import ProblemError
from service.runtime.threads import in_thread

router = APIRouter(tags=["videos"])

BUILT = Path(__file__).parents[2] / "web" / "dist"
"""Where `make web` puts the page."""
_SAMPLE = Path(__file__).parents[2] / "sample" / "clip.mp4"
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; worker-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: everything is from this service, and no script or style stands in the HTML."""
_HASHED = re.compile(r"-[\w-]{8}\.\w+")
"""End of a file name that changes with its content."""
_VIDEO: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The clip of `keymask demo`.",
        "content": {"video/mp4": BINARY},
        "headers": {"ETag": {"schema": {"type": "string"}, "description": "Identifies this file."}},
    },
    304: {"description": "The client already has the clip (`If-None-Match`)."},
}

IfNoneMatch: TypeAlias = Annotated[str | None, Header(description="ETags that the client has.")]
AcceptEncoding: TypeAlias = Annotated[str, Header()]


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file that is sent as it is, or compressed.

    Attributes:
        content: The bytes.
        media_type: Its media type.
        compressed: The bytes compressed with gzip.
        digest: Start of the bytes' SHA-256, hexadecimal.
        is_hashed: Whether a changed file would have another name.
    """

    content: bytes
    media_type: str
    compressed: bytes
    digest: str
    is_hashed: bool

    @classmethod
    def of(cls, name: str, content: bytes) -> PageFile:
        """Prepare a file for sending."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        digest = hashlib.sha256(content).hexdigest()[:32]
        return cls(content, kind, gzip.compress(content, mtime=0), digest, bool(_HASHED.search(name)))


@router.get("/", include_in_schema=False)
async def read_page(
    request: Request, accept_encoding: AcceptEncoding = "", if_none_match: IfNoneMatch = None
) -> Response:
    """The page."""
    found = await in_thread(_index, BUILT, root_of(request))
    if found is None:
        return PlainTextResponse("The page is not built: run `make web`. The HTTP API is at /docs.\n", 404)
    return _send(found, accept_encoding, if_none_match)


@router.get("/static/{name:path}", include_in_schema=False)
async def read_page_file(
    name: str, accept_encoding: AcceptEncoding = "", if_none_match: IfNoneMatch = None
) -> Response:
    """A file of the page."""
    found = (await in_thread(_files, BUILT)).get(name)
    if found is None:
        raise ProblemError("not-found", f"the page has no file {name[:80]!r}")
    return _send(found, accept_encoding, if_none_match)


@router.get(
    "/v1/sample",
    summary="Read the sample video",
    response_class=Response,
    responses=document_problems(*COMMON) | _VIDEO,
)
async def read_sample(_caller: CallerDep, if_none_match: IfNoneMatch = None) -> Response:
    """A short video to try the service with."""
    return _send(await in_thread(_sample), "", if_none_match)


def _send(file: PageFile, accept_encoding: str, if_none_match: str | None) -> Response:
    is_compressed = "gzip" in accept_encoding and len(file.compressed) < len(file.content)
    headers = {
        "ETag": f'"{file.digest}{"-gzip" if is_compressed else ""}"',
        "Cache-Control": "public, max-age=31536000, immutable" if file.is_hashed else "no-cache",
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
    }
    if headers["ETag"] in (if_none_match or ""):
        return Response(status_code=304, headers=headers)
    if is_compressed:
        headers["Content-Encoding"] = "gzip"
    return Response(file.compressed if is_compressed else file.content, media_type=file.media_type, headers=headers)


@cache
def _files(folder: Path) -> dict[str, PageFile]:
    """Return the files of the page, by their path in the folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): PageFile.of(path.name, path.read_bytes()) for path in paths}


@lru_cache(maxsize=8)
def _index(folder: Path, root: str) -> PageFile | None:
    """Return the HTML, with the prefix under which a proxy offers the service; None if there is none."""
    found = _files(folder).get("index.html")
    if found is None or not root:
        return found
    return PageFile.of("index.html", found.content.replace(b'"/static/', f'"{root}/static/'.encode()))


@cache
def _sample() -> PageFile:
    return PageFile.of(_SAMPLE.name, _SAMPLE.read_bytes())
