"""Videos by URL: https:// from hosts, and s3:// from buckets, that the operator allows; copied once to a file.

One pass over the file is what every later step expects, and one connection with one deadline is what can be bounded:
ranges would be requested for as long as a job runs, from a server that may change the file meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from service.config import Settings
from service.errors import StorageUnavailableError, UrlNotAllowedError, UrlUnavailableError
from service.net.address_guard import UrlRules, open_url
from service.problems import ProblemError
from service.storage.objects.object_store import SCHEME, open_object_store

SETTING = "KEYMASK_URL_HOSTS"
MAX_URL_BYTES = 4096
"""Longest URL. Signed ones have a few hundred bytes."""
_REDIRECTS = 5


def is_url(text: str) -> bool:
    """Return whether an input is named by a URL rather than a path."""
    return "://" in text


def file_name_of(url: str) -> str:
    """Return the last part of the path of a URL, "" if it cannot be the name of a file."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return "" if name in (".", "..") or "\0" in name else name


def copy_url(
    url: str,
    target: Path,
    settings: Settings,
    *,
    charge: Callable[[int], None] = lambda _size: None,
    rules: UrlRules | None = None,
) -> None:
    """Copy the video at a URL to a file.

    Args:
        url: The URL.
        target: The file.
        settings: Allowed hosts, and limits of size and time.
        charge: Called with the number of bytes about to be written; it raises an error to stop.
        rules: Rules for https:// in place of those of the settings.

    Raises:
        UrlNotAllowedError: The service may not read the URL.
        UrlUnavailableError: It cannot be read, or not in time.
        ProblemError: `upload-too-large`.
        StorageFullError: There is no room for it.
    """
    limit = int(settings.max_upload_bytes)
    rules = rules or UrlRules([host for host in settings.url_host_list if not host.startswith(SCHEME)], SETTING)
    opened = _object if url.startswith(SCHEME) else _download
    try:
        with opened(url, settings, rules) as (announced, blocks), target.open("wb") as file:
            _check_size(announced, limit)
            size = 0
            for block in blocks:
                size += len(block)
                _check_size(size, limit)
                charge(len(block))
                file.write(block)
    except StorageUnavailableError as error:
        raise UrlUnavailableError(str(error)) from None


@contextmanager
def _download(url: str, settings: Settings, rules: UrlRules) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Yield the announced size of a file, 0 if it is unknown, and its blocks."""
    if not rules.hosts:
        raise UrlNotAllowedError(f"the service reads no https:// URLs; {SETTING} lists the hosts that are allowed")
    with open_url(url, rules, seconds=settings.url_seconds, redirects=_REDIRECTS) as answer:
        if answer.status != 200:
            raise UrlUnavailableError(f"{urlsplit(url).hostname} answers with status {answer.status}, 200 is expected")
        length = answer.headers.get("Content-Length", "")
        yield int(length) if length.isdecimal() else 0, answer.blocks


@contextmanager
def _object(url: str, settings: Settings, _rules: UrlRules) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Yield the size of an object and its blocks."""
    parts = urlsplit(url)
    bucket, key = f"{SCHEME}{parts.netloc}", parts.path.strip("/")
    if bucket not in (host.rstrip("/") for host in settings.url_host_list):
        raise UrlNotAllowedError(f"the bucket {bucket!r:.100} is not allowed; {SETTING} lists the allowed ones")
    if settings.storage is not None and f"{bucket}/{key}/".startswith(f"{settings.storage.rstrip('/')}/"):
        raise UrlNotAllowedError("the URL leads to the files of the service itself")
    store = open_object_store(bucket, check=False)
    size = store.size(key)
    if size is None:
        raise UrlUnavailableError(f"there is no object {key!r:.200} in {bucket}")
    yield size, _in_time(store.blocks(key), time.monotonic() + settings.url_seconds)


def _in_time(blocks: Iterator[bytes], deadline: float) -> Iterator[bytes]:
    for block in blocks:
        if time.monotonic() > deadline:
            raise UrlUnavailableError("the object store does not send the object in time")
        yield block


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ProblemError(
            "upload-too-large", f"the video has more than the {limit} bytes allowed", part="url", limit=limit
        )
