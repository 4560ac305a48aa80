"""A storage with jobs of given sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.jobs.types import new_job_id
from service.storage.job_files import JobFiles, Storage

MIB = 1 << 20


def opened(tmp_path: Path, **changes: Any) -> Storage:
    """Return a storage without a reserve."""
    return Storage(tmp_path, **{"reserve": 0} | changes)


def stored(storage: Storage, size: int, owner: str | None = None) -> JobFiles:
    """Store a job of this many bytes as the service does."""
    with storage.upload() as upload, storage.reserve(owner) as space:
        space.cover(size)
        upload.video.write_bytes(bytes(size))
        job_id = new_job_id()
        files = storage.adopt(upload, job_id)
        space.keep(job_id)
    return files
