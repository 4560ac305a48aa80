"""A download that continues where it broke (RFC 9110, sections 13.1.5 and 14)."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

import httpx

from keymask.errors import InvalidResponseError, url_of

_PLAIN = {"Accept-Encoding": "identity"}
"""Offsets count the bytes of the file, not of a compressed copy."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Download:
    """A file that arrives in one or more responses. It gets its name once it is complete.

    Args:
        target: The name of the complete file.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        self._file = self._part.open("xb")
        self._etag: str | None = None
        self._total: int | None = None
        self._longest = 0

    def headers(self) -> dict[str, str]:
        """Return the headers of a request for the bytes that are missing.

        The last byte is requested again, because a range must not be empty.
        """
        size = self._file.tell()
        if self._etag is None or not size:
            return dict(_PLAIN)
        return {**_PLAIN, "Range": f"bytes={size - 1}-", "If-Range": self._etag}

    def begin(self, response: httpx.Response) -> None:
        """Read the headers of a response, whose body follows.

        Raises:
            InvalidResponseError: The response has another part of the file than was requested.
        """
        start, length = 0, response.headers.get("content-length", "")
        self._total = int(length) if length.isdecimal() else None
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            if not found or not int(found[1]) == self._file.tell() - 1 or self._is_other(response):
                raise InvalidResponseError(f"{url_of(response)}: the answer has not the requested part of the file")
            start, self._total = int(found[1]), int(found[2])
        elif response.headers.get("content-encoding", "identity") != "identity":
            self._total = None
        self._file.seek(start)
        self._file.truncate()
        etag = response.headers.get("etag", "")
        # A weak tag may name a compressed copy of the file, whose offsets differ.
        self._etag = etag if etag.startswith('"') else None

    def write(self, block: bytes) -> bool:
        """Append a block of the body; return whether there is more of the file now than ever before."""
        self._file.write(block)
        size = self._file.tell()
        grew, self._longest = size > self._longest, max(self._longest, size)
        return grew

    def check_length(self, response: httpx.Response) -> None:
        """Check the file after a body that ended properly. A body without a length has said itself that it is complete.

        Raises:
            httpx.RemoteProtocolError: Bytes are missing.
        """
        size = self._file.tell()
        if self._total not in (None, size):
            raise httpx.RemoteProtocolError(f"{size} of {self._total} bytes were received", request=response.request)

    def finish(self) -> Path:
        """Give the complete file its name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._part.replace(self._target)

    def close(self) -> None:
        """Delete the file unless it is finished."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _is_other(self, response: httpx.Response) -> bool:
        return bool(response.headers.get("etag", self._etag) != self._etag)
