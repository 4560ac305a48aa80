"""Files of jobs. Each job has a folder named by its id; an upload arrives in a staging folder.

ROOT/jobs/<job id>/{video, mask.png, frames.ndjson, report.json, state.npz, results/<format>}
ROOT/incoming/<process>/<upload>/{video, mask.png}
ROOT/incoming/<process>.reserved                        what the process has reserved (`service.storage.space`)
ROOT/incoming/<process>.lock                            locked while the process is alive
ROOT/workers/<name>.lock                                locked while the worker is alive

No name given by a client ever becomes part of a path.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from service.storage.process_lock import ProcessLock, is_locked
from service.storage.space import Reservation, Space
from vos.runtime.durable import make_folder, sync_files, sync_folder

_JOB_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Paths of the files of one job or upload."""

    folder: Path

    @property
    def video(self) -> Path:
        """The uploaded video."""
        return self.folder / "video"

    @property
    def mask(self) -> Path:
        """The uploaded mask of the prompt frame."""
        return self.folder / "mask.png"

    @property
    def mask_log(self) -> Path:
        """The finished masks (see `service.storage.mask_log`).

        The file grows while the job runs, and is emptied if the job is started over.
        """
        return self.folder / "frames.ndjson"

    @property
    def report(self) -> Path:
        """The report of the finished run."""
        return self.folder / "report.json"

    @property
    def state(self) -> Path:
        """The resume state of an unfinished run."""
        return self.folder / "state.npz"

    def result(self, name: str) -> Path:
        """Return the path of a result file, such as "masks.zip"."""
        return self.folder / "results" / name

    def sync(self) -> None:
        """Wait until all files of an upload are on the disk."""
        sync_files(self.folder.iterdir())


class Storage:
    """All files of the service.

    Args:
        root: Folder of all files, created if missing.
        quota: Largest total size of all files in bytes; None sets a share of the disk.
        share: Largest share of the quota for one API key.
        reserve: Bytes to keep free on the disk for the database and running jobs.
        owners: Returns the API key of each of the given jobs that exist, "" for a job without a key.
    """

    def __init__(
        self,
        root: Path,
        *,
        quota: int | None = None,
        share: float = 1.0,
        reserve: int = 64 << 20,
        owners: Callable[[Collection[str]], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self.root = root.absolute()
        self._jobs, self._incoming, self._workers = (self.root / name for name in ("jobs", "incoming", "workers"))
        for folder in (self._jobs, self._incoming, self._workers):
            make_folder(folder)
        self._own = self._incoming / secrets.token_hex(8)
        self._lock: ProcessLock | None = None
        self._locking = Lock()
        published = self._own.with_name(f"{self._own.name}.reserved")
        self.space = Space(self.root, published, quota=quota, share=share, reserve=reserve, owners=owners)

    def close(self) -> None:
        """Delete unfinished uploads of this process."""
        shutil.rmtree(self._own, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def job(self, job_id: str) -> JobFiles:
        """Return the paths of a job, whose files need not exist yet.

        Raises:
            ValueError: This is not an id in the form of `new_job_id`.
        """
        if not _JOB_ID.fullmatch(job_id):
            raise ValueError(f"{job_id!r} is not a job id")
        return JobFiles(self._jobs / job_id)

    @contextmanager
    def upload(self) -> Iterator[JobFiles]:
        """Create a staging folder. It is deleted at the end of the block unless `adopt` has moved it."""
        self._show_alive()
        folder = self._own / secrets.token_hex(8)
        folder.mkdir(parents=True)
        try:
            yield JobFiles(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def reserve(self, owner: str | None = None) -> Reservation:
        """Return a reservation of no bytes yet for an upload or a result of this API key."""
        self._show_alive()
        return self.space.reserve(owner)

    def adopt(self, upload: JobFiles, job_id: str) -> JobFiles:
        """Move an upload to the folder of a job, in one durable rename, before the job is created in the store.

        The files of the upload must be on the disk (`JobFiles.sync`).
        """
        os.utime(upload.folder)  # `sweep` measures the age of the folder from now on
        files = self.job(job_id)
        upload.folder.rename(files.folder)
        sync_folder(self._jobs)
        return files

    def delete(self, job_id: str) -> None:
        """Delete the files of a job, if there are any."""
        shutil.rmtree(self.job(job_id).folder, ignore_errors=True)
        self.space.forget(job_id)

    def job_ids(self) -> list[str]:
        """Return the ids of all jobs that have a folder."""
        return [entry.name for entry in os.scandir(self._jobs) if _JOB_ID.fullmatch(entry.name)]

    def is_sole_process(self) -> bool:
        """Return whether no other live process accepts uploads."""
        own = _lock_of(self._own)
        return not any(is_locked(lock) for lock in self._incoming.glob("*.lock") if lock != own)

    def sweep(self, owned: Collection[str], candidates: Collection[str], *, min_age: float = 60.0) -> list[str]:
        """Delete orphaned files: folders without a job, uploads of dead processes and locks of dead workers.

        Args:
            owned: Ids of jobs that exist.
            candidates: Ids of folders, listed before `owned` was queried.
            min_age: Age in seconds below which a folder is kept, because its job may be about to be created.

        Returns:
            Ids of the deleted folders.
        """
        for lock in self._incoming.glob("*.lock"):
            if not is_locked(lock):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
                lock.with_suffix(".reserved").unlink(missing_ok=True)
        for lock in self._workers.glob("*.lock"):
            if not is_locked(lock):
                lock.unlink(missing_ok=True)
        latest = time.time() - min_age
        orphaned = [i for i in candidates if i not in owned and _modified(self.job(i).folder) <= latest]
        for job_id in orphaned:
            self.delete(job_id)
        return orphaned

    def lock_worker(self, name: str) -> ProcessLock:
        """Mark the worker of this name as alive for as long as this process is."""
        return ProcessLock(self._workers / f"{name}.lock")

    def is_worker_alive(self, name: str) -> bool:
        """Return whether the worker of this name is alive."""
        return is_locked(self._workers / f"{name}.lock")

    def _show_alive(self) -> None:
        with self._locking:
            self._lock = self._lock or ProcessLock(_lock_of(self._own))


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
