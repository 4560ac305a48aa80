"""Uploads that arrive in several requests, and stay until a job adopts them or nobody continues them.

ROOT/uploads/<upload id>/about.json   {"owner": key, "length": bytes}
ROOT/uploads/<upload id>/offset       how many bytes are on the disk for certain
ROOT/uploads/<upload id>/video        the bytes, perhaps with more behind the offset, which do not count
ROOT/uploads/<upload id>/lock         held by the request that writes, in whichever process

The folder is the reservation: an upload counts with its whole length from its creation on, for every process.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, ClassVar

from service.problems import ProblemError
from service.storage.change_watch import ChangeWatch
from vos.runtime.durable import make_folder, sync_folder, write_durably

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """An upload.

    Attributes:
        folder: Its folder, whose name is its id.
        owner: Name of the API key that it belongs to, "" without keys.
        length: Number of bytes that it will have.
        offset: Number of bytes that it has, when it was looked up.
        changed_at: Time of its latest change.
        parts: Number of its parts, if it is stored in parts.
    """

    folder: Path
    owner: str
    length: int
    offset: int
    changed_at: datetime
    parts: int = 0

    @property
    def id(self) -> str:
        """Its id."""
        return self.folder.name

    @property
    def video(self) -> Path:
        """The bytes."""
        return self.folder / "video"

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there."""
        return self.offset == self.length


class UploadWriter:
    """Continues an upload.

    Args:
        upload: The upload; this process holds its lock.

    Attributes:
        offset: Number of bytes that are written.
        committed: Number of bytes that are on the disk for certain.
        commit_bytes: Number of written bytes after which `commit` is due, so that they survive the process.
    """

    commit_bytes = 16 << 20
    _file: IO[bytes]

    def __init__(self, upload: StoredUpload) -> None:
        self.offset = self.committed = upload.offset
        self._target = upload.folder / "offset"
        self._file = upload.video.open("r+b")
        self._file.truncate(upload.offset)
        self._file.seek(upload.offset)

    def write(self, blocks: list[bytes]) -> None:
        """Append bytes, which count after `commit`."""
        self._file.writelines(blocks)
        self.offset += sum(map(len, blocks))

    def commit(self) -> None:
        """Wait until the bytes are on the disk, and then their number."""
        if self.offset == self.committed:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        write_durably(self._target, b"%d\n" % self.offset)
        self.committed = self.offset

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # `commit` has reported what could not be written
            self._file.close()


class Uploads:
    """All uploads in a folder, which several processes may use.

    Args:
        folder: The folder, created if missing.
        seconds: Time without a change after which an upload is deleted.

    Attributes:
        is_copy: Whether this machine only has copies of what counts (`service.storage.objects.object_uploads`).
    """

    is_copy: ClassVar[bool] = False

    def __init__(self, folder: Path, seconds: float) -> None:
        make_folder(folder)
        self._folder = folder
        self._seconds = seconds
        self._watch: ChangeWatch[str] = ChangeWatch()

    def create(self, owner: str | None, length: int, most: int) -> StoredUpload:
        """Add an empty upload.

        Args:
            owner: Name of the API key.
            length: Number of bytes that it will have.
            most: Largest number of uploads of one owner.

        Raises:
            ProblemError: The owner has as many uploads already.
        """
        name = secrets.token_hex(16)
        staged = self._folder / f".{name}"
        staged.mkdir(mode=0o700)
        (staged / "video").touch()
        write_durably(staged / "offset", b"0\n")
        write_durably(staged / "about.json", json.dumps({"owner": owner or "", "length": length}).encode())
        staged.rename(self._folder / name)
        sync_folder(self._folder)
        self._check_number(name, owner, most)
        return self.get(name, None)

    def _check_number(self, name: str, owner: str | None, most: int) -> None:
        """Delete the upload just added if the owner has too many with it.

        Raises:
            ProblemError: There are too many.
        """
        if sum(upload.owner == (owner or "") for upload in self._all()) > most:
            self.delete(name)
            raise ProblemError(
                "too-many-uploads", f"{most} uploads are waiting to become a job, which is the limit; delete one"
            )

    def get(self, upload_id: str, owner: str | None) -> StoredUpload:
        """Return an upload of this owner; None finds those of all owners.

        Raises:
            ProblemError: There is none.
        """
        found = self._read(upload_id) if _ID.fullmatch(upload_id) else None
        if found is None or (owner is not None and found.owner != owner):
            raise upload_not_found(upload_id)
        return found

    @contextmanager
    def writing(self, upload: StoredUpload, offset: int) -> Iterator[UploadWriter]:
        """Continue an upload at an offset, and lock it while the block runs. What was not committed does not count.

        Raises:
            ProblemError: Another request is writing, the upload has another offset, or it was deleted.
        """
        try:
            lock = os.open(upload.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise upload_not_found(upload.id) from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProblemError("upload-locked", "another request is writing to this upload; try again") from None
            current = self.get(upload.id, None)
            check_offset(current, offset)
            writer = UploadWriter(current)
            try:
                yield writer
            finally:
                writer.close()
        finally:
            os.close(lock)

    def fetch(self, upload: StoredUpload) -> None:
        """Wait until the bytes of a complete upload are in a file of this machine, as they are in a folder.

        Raises:
            ProblemError: It was deleted.
            StorageUnavailableError: They cannot be read at the moment.
        """

    def delete(self, upload_id: str) -> None:
        """Delete an upload, if it is there."""
        shutil.rmtree(self._folder / upload_id, ignore_errors=True)

    def promised(self) -> tuple[Counter[str], int]:
        """Return the bytes that uploads will have, per owner, and how many of all are not yet written."""
        owners: Counter[str] = Counter()
        unwritten = 0
        for upload in self._all():
            owners[upload.owner] += upload.length
            unwritten += upload.length - upload.offset
        return owners, unwritten

    def sweep(self) -> None:
        """Delete the uploads that nobody has continued for long, as seen from sweep to sweep."""
        changes = {entry.name: _change_of(Path(entry.path)) for entry in os.scandir(self._folder)}
        for name, age in self._watch.observe(changes).items():
            if age >= self._seconds:
                self.delete(name)

    def _all(self) -> Iterator[StoredUpload]:
        for entry in os.scandir(self._folder):
            upload = self._read(entry.name) if _ID.fullmatch(entry.name) else None
            if upload is not None:
                yield upload

    def _read(self, upload_id: str) -> StoredUpload | None:
        folder = self._folder / upload_id
        try:
            about = json.loads((folder / "about.json").read_bytes())
            offset = int((folder / "offset").read_bytes())
            changed = (folder / "offset").stat().st_mtime
        except FileNotFoundError:
            return None
        return StoredUpload(folder, about["owner"], about["length"], offset, datetime.fromtimestamp(changed, UTC))


def check_offset(upload: StoredUpload, offset: int) -> None:
    """Check where a request continues an upload.

    Raises:
        ProblemError: The upload continues elsewhere.
    """
    if offset != upload.offset:
        raise ProblemError(
            "upload-offset-mismatch",
            f"Upload-Offset is {offset}; the upload has {upload.offset} bytes",
            offset=upload.offset,
        )


def upload_not_found(upload_id: str) -> ProblemError:
    """Return the problem of an upload that is not there, or no longer."""
    return ProblemError("upload-not-found", f"there is no upload {upload_id[:80]!r}")


def _change_of(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return (folder / "offset").stat().st_mtime_ns
    return 0
