"""Files of jobs. Each job has a folder named by its id; an upload arrives in a staging folder.

ROOT/jobs/<job id>/{video, mask.png, frames.ndjson, report.json, state.npz, results/<format>}
ROOT/incoming/<process>/<upload>/{video, mask.png}
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
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from service.errors import StorageFullError
from service.storage.process_lock import ProcessLock, is_locked

_JOB_ID = re.compile(r"[0-9a-f]{32}")
_USAGE_SECONDS = 2.0
"""How long a measurement of the space in use stays valid."""


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


class Storage:
    """All files of the service.

    Args:
        root: Folder of all files, created if missing.
        quota: Largest total size of all files in bytes. None sets no limit.
        reserve: Bytes to keep free on the disk for the database and running jobs.
    """

    def __init__(self, root: Path, *, quota: int | None = None, reserve: int = 64 << 20) -> None:
        self.root = root.absolute()
        self._quota = quota
        self._reserve = reserve
        self._jobs, self._incoming, self._workers = (self.root / name for name in ("jobs", "incoming", "workers"))
        for folder in (self._jobs, self._incoming, self._workers):
            folder.mkdir(parents=True, exist_ok=True)
        self._own = self._incoming / secrets.token_hex(8)
        self._lock: ProcessLock | None = None
        self._locking = Lock()
        self._used, self._used_at = 0, -_USAGE_SECONDS

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
        with self._locking:
            self._lock = self._lock or ProcessLock(_lock_of(self._own))
        folder = self._own / secrets.token_hex(8)
        folder.mkdir(parents=True)
        try:
            yield JobFiles(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, upload: JobFiles, job_id: str) -> JobFiles:
        """Move an upload to the folder of a job, in one rename, before the job is created in the store."""
        os.utime(upload.folder)  # `sweep` measures the age of the folder from now on
        files = self.job(job_id)
        upload.folder.rename(files.folder)
        return files

    def check_space(self, wanted: int = 0) -> None:
        """Check that `wanted` more bytes fit into the quota and onto the disk.

        Raises:
            StorageFullError: They do not fit.
        """
        if self._quota is not None and (used := self.usage()) + wanted > self._quota:
            raise StorageFullError(
                f"{used:,} of {self._quota:,} bytes are in use; there is no room for {wanted:,} more; "
                "delete jobs or wait until some expire"
            )
        free = shutil.disk_usage(self.root).free
        if free - wanted < self._reserve:
            raise StorageFullError(
                f"the disk has {free:,} bytes left, of which {self._reserve:,} are kept free; there is no room for "
                f"{wanted:,} more"
            )

    def usage(self) -> int:
        """Return the bytes used by all jobs and uploads, measured at most every two seconds."""
        now = time.monotonic()
        if now - self._used_at >= _USAGE_SECONDS:
            self._used, self._used_at = _size(self._jobs) + _size(self._incoming), now
        return self._used

    def delete(self, job_id: str) -> None:
        """Delete the files of a job, if there are any."""
        shutil.rmtree(self.job(job_id).folder, ignore_errors=True)
        self._used_at = -_USAGE_SECONDS

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


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _size(folder: Path) -> int:
    """Return the total size of the files below a folder, without files that vanish meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size  # noqa: PTH116, PTH118 - many files, often
            except FileNotFoundError:
                continue
    return total
