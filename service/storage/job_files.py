"""Files of jobs: one folder a job, named by the service's own id; uploads come in through a staging folder.

ROOT/jobs/<job id>/{video, mask.png, frames.ndjson, report.json, state.npz, results/<format>}
ROOT/incoming/<process>/<upload>/{video, mask.png}     with <process>.lock beside, locked for as long as it lives
ROOT/workers/<name>.lock                               locked for as long as the worker lives

No name that a client gives is ever part of a path.
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
"""How long a measurement of what is used is believed."""


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where the files of one job (or upload) are."""

    folder: Path

    @property
    def video(self) -> Path:
        """The video, as uploaded."""
        return self.folder / "video"

    @property
    def mask(self) -> Path:
        """The prompt, as uploaded."""
        return self.folder / "mask.png"

    @property
    def mask_log(self) -> Path:
        """One line of JSON a frame (`service.writers.ndjson.frame_line`), appended while the job runs.

        Only what ends in a newline counts. The file may become shorter once, when a job is started over.
        """
        return self.folder / "frames.ndjson"

    @property
    def report(self) -> Path:
        """Summary of the finished run."""
        return self.folder / "report.json"

    @property
    def state(self) -> Path:
        """Where the run stands, to go on after an interruption; gone when the job is finished."""
        return self.folder / "state.npz"

    def result(self, name: str) -> Path:
        """A result file, such as "masks.zip"; write it as `.part` beside and rename it."""
        return self.folder / "results" / name


class Storage:
    """All files below `root`.

    Args:
        root: Folder, made if needed.
        quota: Most bytes of all jobs together; None: the disk's size.
        reserve: Bytes that stay free on the disk for the database and running jobs.
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
        """Remove what is left of this process's uploads."""
        shutil.rmtree(self._own, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def job(self, job_id: str) -> JobFiles:
        """Files of a job, which need not exist yet.

        Raises:
            ValueError: The id is not one that `new_job_id` makes.
        """
        if not _JOB_ID.fullmatch(job_id):
            raise ValueError(f"{job_id!r} is no job id")
        return JobFiles(self._jobs / job_id)

    @contextmanager
    def upload(self) -> Iterator[JobFiles]:
        """An empty staging folder, removed at the end of the block unless `adopt` has moved it."""
        with self._locking:
            self._lock = self._lock or ProcessLock(_lock_of(self._own))
        folder = self._own / secrets.token_hex(8)
        folder.mkdir(parents=True)
        try:
            yield JobFiles(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, upload: JobFiles, job_id: str) -> JobFiles:
        """Move an upload to a job, in one step. Do so before the job is created: a folder without a job is swept."""
        os.utime(upload.folder)  # its age, for the sweep, counts from now
        files = self.job(job_id)
        upload.folder.rename(files.folder)
        return files

    def check_space(self, wanted: int = 0) -> None:
        """Refuse when `wanted` bytes more would exceed the quota or the disk.

        Raises:
            StorageFullError: Naming what is used and allowed.
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
        """Bytes of all jobs and uploads; measured at most every few seconds."""
        now = time.monotonic()
        if now - self._used_at >= _USAGE_SECONDS:
            self._used, self._used_at = _size(self._jobs) + _size(self._incoming), now
        return self._used

    def delete(self, job_id: str) -> None:
        """Remove a job's files; nothing happens if there are none."""
        shutil.rmtree(self.job(job_id).folder, ignore_errors=True)
        self._used_at = -_USAGE_SECONDS

    def job_ids(self) -> list[str]:
        """Ids of the jobs that have a folder."""
        return [entry.name for entry in os.scandir(self._jobs) if _JOB_ID.fullmatch(entry.name)]

    def is_alone(self) -> bool:
        """Whether no other living process takes uploads in."""
        own = _lock_of(self._own)
        return not any(is_locked(lock) for lock in self._incoming.glob("*.lock") if lock != own)

    def sweep(self, owned: Collection[str], candidates: Collection[str], *, min_age: float = 60.0) -> list[str]:
        """Remove what nobody owns.

        Args:
            owned: Ids of jobs that exist.
            candidates: Ids of folders, listed before `owned` was asked for.
            min_age: Age in seconds from which a folder without a job is no longer one whose job is just being created.

        Returns:
            Ids of the folders that were removed.
        """
        for lock in self._incoming.glob("*.lock"):
            if not is_locked(lock):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
        for lock in self._workers.glob("*.lock"):
            if not is_locked(lock):
                lock.unlink(missing_ok=True)
        latest = time.time() - min_age
        ownerless = [i for i in candidates if i not in owned and _modified(self.job(i).folder) <= latest]
        for job_id in ownerless:
            self.delete(job_id)
        return ownerless

    def lock_worker(self, name: str) -> ProcessLock:
        """Say that the worker of this name lives, for as long as this process does."""
        return ProcessLock(self._workers / f"{name}.lock")

    def is_worker_alive(self, name: str) -> bool:
        """Whether the worker of this name lives."""
        return is_locked(self._workers / f"{name}.lock")


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; what vanishes meanwhile does not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size  # noqa: PTH116, PTH118 - many files, often
            except FileNotFoundError:
                continue
    return total
