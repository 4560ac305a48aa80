"""Uploads in several requests as objects, so that each request may reach another process.

uploads/<upload id>/about-<length>-<owner in hexadecimal>   an empty object; written first
uploads/<upload id>/<first>.part                            bytes from offset `first` on, never changed

The offset of an upload is where its last part ends. A part is created only if there is none with its first byte, so of
two requests that continue an upload at the same byte, one is refused.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from threading import Lock
from typing import ClassVar

from service.problems import ProblemError
from service.storage.objects.object_store import ObjectStore, StoredObject
from service.storage.objects.parts import append_parts, first_of
from service.storage.uploads import StoredUpload, Uploads, UploadWriter, check_offset, upload_not_found
from vos.runtime.durable import part_of

_ROOT = "uploads/"
_PART_BYTES = 5 << 20
"""Bytes after which a part is stored; a request holds so many in memory while it stores them."""
_MAX_PARTS = 10_000
_LIST_SECONDS = 30.0
"""How long a listing of all uploads stays valid for quotas."""


class PartWriter(UploadWriter):
    """Continues an upload by further parts.

    Args:
        store: Where they go.
        upload: The upload.
        folder: Folder for the bytes that are not stored yet.
    """

    commit_bytes = _PART_BYTES

    def __init__(self, store: ObjectStore, upload: StoredUpload, folder: Path) -> None:
        self.offset = self.committed = upload.offset
        self._store = store
        self._upload = upload
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - `close` closes it

    def commit(self) -> None:
        """Store what was written as a part.

        Raises:
            ProblemError: Another request has stored one there.
        """
        if self.offset == self.committed:
            return
        self._file.seek(0)
        if not self._store.create(_part_key(self._upload.id, self.committed), self._file.read()):
            raise ProblemError(
                "upload-offset-mismatch", "another request has continued the upload; ask where it is and continue there"
            )
        self._file.seek(0)
        self._file.truncate()
        self.committed = self.offset


class ObjectUploads(Uploads):
    """All uploads in an object store. `Uploads` documents the methods.

    Args:
        store: Where they are.
        folder: Folder for copies.
        seconds: Time without a change after which an upload is deleted.
    """

    is_copy: ClassVar[bool] = True

    def __init__(self, store: ObjectStore, folder: Path, seconds: float) -> None:
        super().__init__(folder, seconds)
        self._store = store
        self._fetching = Lock()
        self._listed: list[StoredUpload] = []
        self._listed_at = -_LIST_SECONDS

    def create(self, owner: str | None, length: int, most: int) -> StoredUpload:
        """Add an empty upload."""
        name = token_hex(16)
        self._store.put(f"{_ROOT}{name}/about-{length}-{(owner or '').encode().hex()}", b"")
        self._listed_at = -_LIST_SECONDS  # its bytes count from now on
        self._check_number(name, owner, most)
        return self.get(name, None)

    @contextmanager
    def writing(self, upload: StoredUpload, offset: int) -> Iterator[UploadWriter]:
        """Continue an upload at an offset. What was not committed does not count."""
        current = self.get(upload.id, None)
        check_offset(current, offset)
        if current.parts >= _MAX_PARTS:
            raise ProblemError(
                "upload-too-large",
                f"the upload has come in {current.parts} parts, which is the limit; begin a new one with larger parts",
                limit=_MAX_PARTS,
            )
        writer = PartWriter(self._store, current, self._folder)
        try:
            yield writer
        finally:
            writer.close()

    def fetch(self, upload: StoredUpload) -> None:
        """Wait until the bytes of a complete upload are in a file of this machine."""
        with self._fetching:
            with suppress(FileNotFoundError):
                if upload.video.stat().st_size == upload.length:
                    upload.video.touch()
                    return
            upload.folder.mkdir(exist_ok=True)
            part = part_of(upload.video)
            try:
                self._copy(upload, part)
                part.replace(upload.video)
            except FileNotFoundError:
                raise upload_not_found(upload.id) from None
            finally:
                part.unlink(missing_ok=True)

    def _copy(self, upload: StoredUpload, target: Path) -> None:
        keys = [entry.key for entry in self._store.entries(f"{_ROOT}{upload.id}/") if _is_part(entry)]
        with target.open("wb") as file:
            append_parts(self._store, keys, file)
            if file.tell() != upload.length:
                raise FileNotFoundError(upload.id)

    def delete(self, upload_id: str) -> None:
        """Delete an upload, if it is there."""
        self._store.delete([entry.key for entry in self._store.entries(f"{_ROOT}{upload_id}/")])
        super().delete(upload_id)
        self._listed_at = -_LIST_SECONDS

    def promised(self) -> tuple[Counter[str], int]:
        """Return the bytes that uploads will have, per owner; none of them is missing on this machine's disk."""
        if time.monotonic() - self._listed_at > _LIST_SECONDS:
            self._listed, self._listed_at = list(self._all()), time.monotonic()
        owners: Counter[str] = Counter()
        for upload in self._listed:
            owners[upload.owner] += upload.length
        return owners, 0

    def sweep(self) -> None:
        """Delete the uploads that nobody has continued for long, as seen from sweep to sweep."""
        entries = self._by_upload(self._store.entries(_ROOT))
        changes = {name: len(objects) for name, objects in entries.items()}
        for name, age in self._watch.observe(changes).items():
            if age >= self._seconds:
                self.delete(name)

    def copies(self) -> list[Path]:
        """Return the folders of copies on this machine."""
        return [path for path in self._folder.iterdir() if path.is_dir()]

    def _all(self) -> Iterator[StoredUpload]:
        for name, objects in self._by_upload(self._store.entries(_ROOT)).items():
            if (upload := self._parse(name, objects)) is not None:
                yield upload

    def _read(self, upload_id: str) -> StoredUpload | None:
        return self._parse(upload_id, list(self._store.entries(f"{_ROOT}{upload_id}/")))

    def _by_upload(self, entries: Iterable[StoredObject]) -> dict[str, list[StoredObject]]:
        found: dict[str, list[StoredObject]] = defaultdict(list)
        for entry in entries:
            found[entry.key.split("/")[1]].append(entry)
        return found

    def _parse(self, name: str, objects: list[StoredObject]) -> StoredUpload | None:
        """Return the upload that these objects are, which come in the order of their keys."""
        about = [entry.key.rpartition("/")[2].split("-") for entry in objects if not _is_part(entry)]
        if not about:  # it was deleted while a request wrote
            return None
        offset = parts = 0
        for entry in filter(_is_part, objects):
            if first_of(entry.key) == offset:
                offset, parts = offset + entry.size, parts + 1
        changed_at = max(entry.changed_at for entry in objects)
        owner = bytes.fromhex(about[0][2]).decode()
        return StoredUpload(self._folder / name, owner, int(about[0][1]), offset, changed_at, parts)


def _part_key(upload_id: str, first: int) -> str:
    return f"{_ROOT}{upload_id}/{first:016}.part"


def _is_part(entry: StoredObject) -> bool:
    return entry.key.endswith(".part")
