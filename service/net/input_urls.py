"""Videos by URL: https:// from hosts, and s3:// from buckets, that the operator allows; copied once to a file.

One pass over the file is what every later step expects, and one connection with one deadline is what can be bounded:
ranges would be requested for as long as a job runs, from a server that may change the file meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from service.config import Settings
from service.errors import StorageUnavailableError, UrlNotAllowedError, UrlUnavailableError
from service.net.address_guard import UrlRules, open_url
from service.problems import ProblemError
from service.storage.objects.object_store import SCHEME, ObjectStore, open_object_store

SETTING = "KEYMASK_URL_HOSTS"
MAX_URL_BYTES = 4096
"""Longest URL. Signed ones have a few hundred bytes."""
_REDIRECTS = 5
_WILDCARDS = frozenset("*?[")


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


def copy_ends(url: str, target: Path, settings: Settings, size: int) -> None:
    """Copy the first and the last bytes of an object to a file of its size, with a hole between them.

    Args:
        url: s3:// URL of the object.
        target: The file.
        settings: Allowed buckets.
        size: Number of bytes at either end.

    Raises:
        UrlNotAllowedError: The service may not read the URL.
        UrlUnavailableError: It cannot be read.
    """
    try:
        store, key, total = _find_object(url, settings)
        with target.open("wb") as file:
            file.truncate(total)
            for start, end in ((0, min(size, total)), (max(size, total - size), total)):
                if start < end:
                    file.seek(start)
                    file.write(store.read_range(key, start, end))
    except (StorageUnavailableError, FileNotFoundError) as error:
        raise UrlUnavailableError(str(error)) from None


def list_objects(pattern: str, settings: Settings) -> list[str]:
    """Return the s3:// URLs that match a pattern, sorted. As in paths of files, wildcards do not match "/".

    Args:
        pattern: Such as s3://bucket/clips/*.mp4.
        settings: Allowed buckets.

    Raises:
        UrlNotAllowedError: The service may not read the bucket.
        UrlUnavailableError: It cannot be listed.
    """
    bucket, key = pattern.removeprefix(SCHEME).partition("/")[::2]
    wanted = key.split("/")
    fixed = list(takewhile(lambda part: not has_wildcard(part), wanted[:-1]))
    try:
        entries = _open_bucket(f"{SCHEME}{bucket}", settings).entries("/".join(fixed))
        keys = [entry.key for entry in entries]
    except StorageUnavailableError as error:
        raise UrlUnavailableError(str(error)) from None
    return [f"{SCHEME}{bucket}/{key}" for key in keys if _matches(key.split("/"), wanted)]


def has_wildcard(text: str) -> bool:
    """Return whether a path is a pattern."""
    return not _WILDCARDS.isdisjoint(text)


def _matches(parts: list[str], wanted: list[str]) -> bool:
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


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
    store, key, size = _find_object(url, settings)
    yield size, _in_time(store.blocks(key), time.monotonic() + settings.url_seconds)


def _find_object(url: str, settings: Settings) -> tuple[ObjectStore, str, int]:
    """Return the store of a bucket, and key and size of an object in it."""
    bucket, key = _split(url)
    if settings.storage is not None and f"{bucket}/{key}/".startswith(f"{settings.storage.rstrip('/')}/"):
        raise UrlNotAllowedError("the URL leads to the files of the service itself")
    store = _open_bucket(bucket, settings)
    size = store.size(key)
    if size is None:
        raise UrlUnavailableError(f"there is no object {key!r:.200} in {bucket}")
    return store, key, size


def _open_bucket(bucket: str, settings: Settings) -> ObjectStore:
    if bucket not in (host.rstrip("/") for host in settings.url_host_list):
        raise UrlNotAllowedError(f"the bucket {bucket!r:.100} is not allowed; {SETTING} lists the allowed ones")
    return open_object_store(bucket, "the URL", check=False)


def _split(url: str) -> tuple[str, str]:
    """Return bucket and key of an object."""
    parts = urlsplit(url)
    return f"{SCHEME}{parts.netloc}", parts.path.strip("/")


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
