"""Download one file when a user asks for it."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
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


def download(address: str, target: Path, progress: Progress = lambda _done, _total: None) -> None:
    """Download `address` to the new file `target`.

    Args:
        address: An https address, or http on this machine.
        target: The file, deleted if the download fails.
        progress: Called with the number of bytes so far and the number expected, None if unknown.

    Raises:
        UsageError: The address is of another kind.
        RunError: The file cannot be reached, breaks off, is too large, or is a web page.
    """
    _check(address)
    try:
        _fetch(address, target, progress)
    except BaseException as error:
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


def _fetch(address: str, target: Path, progress: Progress) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "keymask"})
    opener = urllib.request.build_opener(_CheckedRedirects)
    with opener.open(request, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as file:
        if answer.headers.get_content_type() == "text/html":
            raise RunError(f"{address} returns a web page, not a file")
        length = answer.headers.get("Content-Length")
        total = int(length) if length and length.isdecimal() else None
        received = _copy(answer, file, total, progress)
    if total is not None and received != total:
        raise RunError(f"{address} broke off after {received} of {total} bytes")


def _check(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise UsageError(f"{address} cannot be fetched; an address must start with https://")


def _copy(source: IO[bytes], target: IO[bytes], total: int | None, progress: Progress) -> int:
    """Copy at most `MAX_BYTES` and return how many bytes it was."""
    done = 0
    while chunk := source.read(_CHUNK):
        done += len(chunk)
        if done > MAX_BYTES:
            raise RunError(f"the file is larger than {MAX_BYTES} bytes, more than any network here needs")
        target.write(chunk)
        progress(done, total)
    return done
