"""Jobs in a storage, without a service."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from service.jobs.types import new_job_id
from service.storage.job_files import JobFiles, Storage

MIB = 1 << 20
VIDEO = secrets.token_bytes(300_000)


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


def submit(storage: Storage, video: bytes = VIDEO, job_id: str | None = None) -> str:
    """Store a job as the service does; return its id."""
    job_id = job_id or new_job_id()
    with storage.upload() as upload:
        upload.video.write_bytes(video)
        upload.mask.write_bytes(b"mask")
        storage.persist(upload, job_id)
        storage.adopt(upload, job_id)
    return job_id
