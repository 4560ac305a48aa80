"""Download one file when a user asks for it."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from service.errors import RunError, UsageError

MAX_BYTES = 2 << 30
TIMEOUT_SECONDS = 30
_CHUNK = 1 << 20
Progress = Callable[[int, int | None], None]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_address(text: str) -> bool:
    """Whether `text` is a web address and not a path."""
    return "://" in text


def download(
    address: str, target: Path, progress: Progress = lambda _done, _total: None, *, resume: bool = False
) -> None:
    """Download `address` to the new file `target`.

    Args:
        address: An https address, or http on this machine.
        target: The file, deleted if the download fails.
        progress: Called with the number of bytes so far and the number expected, None if unknown.
        resume: Whether to keep what has come if the download breaks off, beside a file `target.tag` that says which
            version of the remote file it is of, and to continue from there at the next call.

    Raises:
        UsageError: The address is of another kind.
        RunError: The file cannot be reached, breaks off, is too large, or is a web page.
    """
    _check(address)
    tag = target.with_name(f"{target.name}.tag") if resume else None
    try:
        try:
            _fetch(address, target, progress, tag)
        except HTTPError as error:
            if tag is None or error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            # Nothing is missing, or the file has shrunk: begin again.
            error.close()
            tag.unlink(missing_ok=True)
            _fetch(address, target, progress, tag)
    except BaseException as error:
        if tag is None or not tag.is_file() or isinstance(error, RunError):
            target.unlink(missing_ok=True)
        if isinstance(error, HTTPError):
            error.close()
        if isinstance(error, OSError | HTTPException):
            raise RunError(f"{address} cannot be fetched: {getattr(error, 'reason', None) or error}") from error
        raise


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to addresses that a user may give."""

    def redirect_request(  # noqa: PLR0917 - the standard library says so
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """Refuse other kinds of address."""
        try:
            _check(newurl)
        except UsageError as error:
            fp.close()
            raise RunError(f"{req.full_url} leads to {newurl}, which is not an https address") from error
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(address: str, target: Path, progress: Progress, tag: Path | None) -> None:
    headers, begun = {"User-Agent": "keymask"}, 0
    if tag is not None and tag.is_file() and target.is_file():
        begun = target.stat().st_size
        # The server sends the whole file if it has another version.
        headers |= {"Range": f"bytes={begun}-", "If-Range": tag.read_text(encoding="utf-8")}
    request = urllib.request.Request(address, headers=headers)
    opener = urllib.request.build_opener(_CheckedRedirects)
    with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
        begun = begun if answer.status == HTTPStatus.PARTIAL_CONTENT else 0
        _keep_tag(answer.headers.get("ETag"), tag)
        if answer.headers.get_content_type() == "text/html":
            raise RunError(f"{address} returns a web page, not a file")
        length = answer.headers.get("Content-Length")
        total = begun + int(length) if length and length.isdecimal() else None
        with target.open("ab" if begun else "wb") as file:
            received = _copy(answer, file, begun, total, progress)
    if total is not None and received != total:
        raise ConnectionError(f"it broke off after {received} of {total} bytes")
    if tag is not None:
        tag.unlink(missing_ok=True)


def _keep_tag(version: str | None, tag: Path | None) -> None:
    """Note the version of the remote file; a weak one does not promise equal bytes."""
    if tag is None:
        return
    if version and not version.startswith("W/"):
        tag.write_text(version, encoding="utf-8")
    else:
        tag.unlink(missing_ok=True)


def _check(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise UsageError(f"{address} cannot be fetched; an address must start with https://")


def _copy(source: IO[bytes], target: IO[bytes], done: int, total: int | None, progress: Progress) -> int:
    """Copy up to `MAX_BYTES`, of which `done` are there already, and return how many are there."""
    while chunk := source.read(_CHUNK):
        done += len(chunk)
        if done > MAX_BYTES:
            raise RunError(f"the file is larger than {MAX_BYTES} bytes, more than any network here needs")
        target.write(chunk)
        progress(done, total)
    return done
