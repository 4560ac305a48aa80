"""Objects of a store that obstore reaches: S3 and what speaks its protocol; a folder or memory in tests.

Objects appear whole or not at all, and a listing has every object whose `put` has returned, as S3 promises since 2020.
Every wait is bounded, and every failure that may pass is a `StorageUnavailableError`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from service.errors import RunError, StorageUnavailableError, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Backend

SCHEME = "s3://"
_PART = 5 << 20
"""Bytes of a part of a large object: the least that S3 allows."""
BLOCK = 8 << 20
"""Bytes of a large object that are read at a time."""
_SECONDS = timedelta(seconds=10)
"""Longest time for all tries of one request."""
_CONFIG: Any = {"checksum_algorithm": "SHA256", "connect_timeout": "3 seconds", "timeout": "30 seconds"}
"""In this form, timeouts leave what the environment says of the client, such as AWS_ALLOW_HTTP, in force."""
_RETRIES: Any = {"max_retries": 3, "retry_timeout": _SECONDS}


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a listing.

    Attributes:
        key: Its key.
        size: Its bytes.
        changed_at: Time at which it was stored.
    """

    key: str
    size: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What was stored of a file.

    Attributes:
        size: Its bytes.
        sha256: Their hexadecimal SHA-256.
    """

    size: int
    sha256: str


class ObjectStore:
    """Objects below a prefix.

    Args:
        backend: The store of obstore that has them.
    """

    def __init__(self, backend: Backend) -> None:
        import obstore.store  # noqa: PLC0415 - the default storage, a folder, needs no extra

        self._api: Any = obstore
        self._backend = backend
        self._is_s3 = isinstance(backend, obstore.store.S3Store)

    def put_file(self, key: str, path: Path, attributes: dict[str, str] | None = None) -> StoredFile:
        """Store the bytes that a file has now, large ones in parts that are sent side by side and carry checksums.

        Args:
            key: Its key.
            path: The file, which may grow meanwhile.
            attributes: Headers that S3 answers with when the object is read.
        """
        digest = hashlib.sha256()
        with path.open("rb") as file, _failures(key):
            size = os.fstat(file.fileno()).st_size
            blocks = _blocks_of(file, size, digest.update)
            content = blocks if size > _PART else b"".join(blocks)
            self._api.put(self._backend, key, content, attributes=attributes if self._is_s3 else None)
        return StoredFile(size, digest.hexdigest())

    def put(self, key: str, content: bytes) -> None:
        """Store an object in place of an earlier one."""
        with _failures(key):
            self._api.put(self._backend, key, content, use_multipart=False)

    def create(self, key: str, content: bytes) -> bool:
        """Store an object unless there is one (If-None-Match); return whether the object has this content then.

        An earlier try whose answer was lost may have stored it.
        """
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415

        with _failures(key):
            try:
                self._api.put(self._backend, key, content, use_multipart=False, mode="create")
            except AlreadyExistsError:
                return self.read(key) == content
        return True

    def read(self, key: str) -> bytes:
        """Return an object.

        Raises:
            FileNotFoundError: There is none.
        """
        with _failures(key):
            return bytes(self._api.get(self._backend, key).bytes())

    def blocks(self, key: str) -> Iterator[bytes]:
        """Yield an object block by block. Each is a request of its own, so that each wait is bounded.

        Raises:
            FileNotFoundError: There is none.
        """
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(key)
        for start in range(0, size, BLOCK):
            yield self.read_range(key, start, min(size, start + BLOCK))

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes of an object from `start` to `end`, exclusive.

        Raises:
            FileNotFoundError: There is none.
        """
        with _failures(key):
            return bytes(self._api.get_range(self._backend, key, start=start, end=end))

    def fetch(
        self, key: str, path: Path, sha256: str | None = None, on_block: Callable[[], None] = lambda: None
    ) -> None:
        """Copy an object to a file.

        Args:
            key: Its key.
            path: The file.
            sha256: Hexadecimal SHA-256 that it must have.
            on_block: Called after each block.

        Raises:
            FileNotFoundError: There is no such object.
            RunError: It has another digest.
        """
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for block in self.blocks(key):
                file.write(block)
                digest.update(block)
                on_block()
        if sha256 is not None and digest.hexdigest() != sha256:
            raise RunError("a stored file does not have the checksum that it was stored with")

    def size(self, key: str) -> int | None:
        """Return the size of an object, None if there is none."""
        try:
            with _failures(key):
                return int(self._api.head(self._backend, key)["size"])
        except FileNotFoundError:
            return None

    def entries(self, prefix: str, after: str | None = None) -> Iterator[StoredObject]:
        """Yield the objects below a prefix, in the order of their keys, which come after a key."""
        with _failures(prefix):
            found = [
                StoredObject(entry["path"], entry["size"], entry["last_modified"])
                for page in self._api.list(self._backend, prefix, offset=after)
                for entry in page
            ]
        yield from sorted(found, key=lambda entry: entry.key)

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders in a folder."""
        with _failures(prefix):
            found = self._api.list_with_delimiter(self._backend, prefix)["common_prefixes"]
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def delete(self, keys: Collection[str]) -> None:
        """Delete objects; those that do not exist are no error."""
        try:
            with _failures("deletion"):
                self._api.delete(self._backend, list(keys))
        except FileNotFoundError:  # folders and memory stop there, S3 does not
            for key in keys:
                with suppress(FileNotFoundError), _failures(key):
                    self._api.delete(self._backend, key)

    def copy(self, key: str, target: str) -> None:
        """Copy an object in the store.

        Raises:
            FileNotFoundError: There is none.
        """
        with _failures(key):
            self._api.copy(self._backend, key, target)

    def sign(self, key: str, seconds: float) -> str | None:
        """Return a URL at which anybody can read an object for a while; None if the store has no such URLs."""
        if not self._is_s3:
            return None
        with _failures(key):
            return str(self._api.sign(self._backend, "GET", key, timedelta(seconds=seconds)))


def open_object_store(url: str, named: str = "KEYMASK_STORAGE", *, check: bool = True) -> ObjectStore:
    """Open the store of a URL. Endpoint, region and credentials are those of the variables AWS_*, which obstore reads.

    Args:
        url: "s3://bucket/prefix".
        named: What names the URL, for errors.
        check: Whether its objects are listed once.

    Raises:
        UsageError: The URL is none, obstore is not installed, or the store refuses to list its objects.
    """
    parts = urlsplit(url)
    if not url.startswith(SCHEME) or not parts.netloc:
        raise UsageError(f"{named} is {url!r}; it must be a URL such as s3://bucket/prefix")
    try:
        from obstore.store import S3Store  # noqa: PLC0415
    except ImportError:
        raise UsageError(f"{named} needs obstore: pip install 'keymask-server[s3]'") from None
    backend = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=_CONFIG,
        retry_config=_RETRIES,
    )
    store = ObjectStore(backend)
    try:
        if check:
            store.folders("jobs/")
    except (StorageUnavailableError, FileNotFoundError) as error:
        raise UsageError(f"{named} {url} cannot be listed: {error}") from None
    return store


def _blocks_of(file: BinaryIO, size: int, on_block: Callable[[bytes], object]) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file in the parts of an upload."""
    while size > 0 and (block := file.read(min(size, _PART))):
        size -= len(block)
        on_block(block)
        yield block


@contextmanager
def _failures(key: str) -> Iterator[None]:
    """Turn all errors of a store but `FileNotFoundError` into `StorageUnavailableError`."""
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except BaseError as error:
        reason = str(error).partition("\n")[0]
        raise StorageUnavailableError(f"the object store does not answer for {key}: {reason:.300}") from None
