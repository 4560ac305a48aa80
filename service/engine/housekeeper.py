"""Removes deleted jobs, expired jobs and orphaned files."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from service.errors import JobNotFoundError
from service.jobs.store import JobStore
from service.storage.job_files import Storage

_log = logging.getLogger(__name__)


class Housekeeper:
    """Each method may be interrupted; the next call finishes its work. Files are deleted first, the row last."""

    def __init__(self, store: JobStore, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    def remove_deleted(self) -> int:
        """Remove the jobs that are pending deletion and not running; return their number."""
        job_ids = self._store.pending_deletion()
        for job_id in job_ids:
            self._storage.delete(job_id)
            self._store.remove(job_id)
        return len(job_ids)

    def expire(self) -> int:
        """Request the deletion of expired jobs; return their number."""
        expired = self._store.expired(datetime.now(UTC))
        for job in expired:
            try:
                self._store.request_delete(job.id)
            except JobNotFoundError:
                continue  # its owner has deleted it meanwhile
            _log.info("job expired", extra={"job_id": job.id})
        return len(expired)

    def sweep(self, *, min_age: float = 60.0) -> int:
        """Remove orphaned files, as `Storage.sweep` does; return the number of deleted job folders."""
        candidates = self._storage.job_ids()
        swept = self._storage.sweep(self._store.known(candidates), candidates, min_age=min_age)
        if swept:
            _log.info("orphaned files removed", extra={"jobs": swept})
        return len(swept)
