"""The files of the service in an object store, with copies in a scratch folder of this process and its workers.

FOLDER/scratch/<process>/       jobs, incoming, uploads: as `service.storage.job_files` describes
FOLDER/scratch/<process>.lock   held while the process exists

A process begins with an empty folder: nothing of it counts, and after a power cut nothing of it could be trusted.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.jobs.types import is_job_id
from service.storage.change_watch import ChangeWatch
from service.storage.job_files import JobFiles, Storage
from service.storage.objects.job_objects import JobObjects
from service.storage.objects.object_sizes import ObjectSizes
from service.storage.objects.object_uploads import ObjectUploads
from service.storage.objects.scratch_files import ScratchFiles
from vos.runtime.durable import make_folder
from vos.runtime.process_lock import ProcessLock, is_locked

_KEEP_SECONDS = 900.0
"""How long copies stay that nobody uses."""


class ObjectStorage(Storage):
    """All files of the service. `Storage` documents the methods.

    Args:
        folder: Folder of scratch folders.
        objects: The objects of jobs.
        root: Scratch folder of another process, for its workers; None makes one.
        owners, upload_seconds: As for `Storage`.
        limits: Further arguments of `Storage`.
    """

    def __init__(
        self,
        folder: Path,
        objects: JobObjects,
        *,
        root: Path | None = None,
        owners: Callable[[Collection[str]], Mapping[str, str]] = lambda _: {},
        upload_seconds: float = 86400.0,
        **limits: Any,
    ) -> None:
        self._objects = objects
        self._lock: ProcessLock | None = None
        self._unused: ChangeWatch[Path] = ChangeWatch()
        root = root or self._make_root(folder.absolute() / "scratch")
        uploads = ObjectUploads(objects.store, root.absolute() / "uploads", upload_seconds)
        self._upload_copies = uploads.copies
        super().__init__(root, uploads=uploads, sizes=ObjectSizes(objects, owners), owners=owners, **limits)

    def _make_root(self, scratch: Path) -> Path:
        """Make an empty folder, and delete those of processes that are gone."""
        make_folder(scratch)
        for lock in scratch.glob("[!.]*.lock"):
            if not is_locked(lock):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        root = scratch / secrets.token_hex(8)
        self._lock = ProcessLock(root.with_suffix(".lock"))
        return root

    def close(self) -> None:
        """Delete the scratch folder of this process."""
        super().close()
        if self._lock is not None:
            shutil.rmtree(self.root, ignore_errors=True)
            self._lock.release()
            self._lock = None

    def job(self, job_id: str) -> ScratchFiles:
        """Return the paths of the copies of a job's files."""
        return ScratchFiles(super().job(job_id).folder, self._objects)

    def persist(self, upload: JobFiles, job_id: str, *, video_of: str | None = None) -> None:
        """Store the files of an upload as objects of a job."""
        self._objects.put_inputs(job_id, upload.folder, video_of)

    def delete(self, job_id: str) -> None:
        """Delete the objects of a job, and the copies of this process.

        Raises:
            StorageUnavailableError: The objects cannot be deleted at the moment.
        """
        self._objects.delete(job_id)
        super().delete(job_id)

    def job_ids(self) -> list[str]:
        """Return the ids of all jobs that have objects."""
        return [name for name in self._objects.job_ids() if is_job_id(name)]

    def sweep(self, owned: Collection[str], candidates: Collection[str]) -> list[str]:
        """Delete orphaned objects as `Storage.sweep` does, and copies as `trim` does."""
        swept = super().sweep(owned, candidates)
        self.trim()
        return swept

    def trim(self) -> None:
        """Delete copies that nobody has used for a while."""
        used = {}
        for folder in (*(self.job(name).folder for name in self._folders()), *self._upload_copies()):
            with suppress(FileNotFoundError):
                used[folder] = folder.stat().st_mtime_ns
        for folder, age in self._unused.observe(used).items():
            if age >= _KEEP_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
