"""Removes what has had its time: deleted jobs, expired jobs, files that nobody owns."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from service.errors import JobNotFoundError
from service.jobs.store import JobStore
from service.storage.job_files import Storage

_log = logging.getLogger(__name__)


class Housekeeper:
    """Every step may be interrupted and is finished by the next call: files go first, the row goes last."""

    def __init__(self, store: JobStore, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    def remove_deleted(self) -> int:
        """Remove the jobs whose deletion was asked for and that do not run any more; returns how many."""
        pending_deletion = self._store.pending_deletion()
        for job_id in pending_deletion:
            self._storage.delete(job_id)
            self._store.remove(job_id)
        return len(pending_deletion)

    def expire(self) -> int:
        """Ask for the deletion of the jobs whose time is over; returns how many."""
        expired = self._store.expired(datetime.now(UTC))
        for job in expired:
            try:
                self._store.request_delete(job.id)
            except JobNotFoundError:
                continue  # its owner was faster
            _log.info("job expired", extra={"job_id": job.id})
        return len(expired)

    def sweep(self, *, min_age: float = 60.0) -> int:
        """Remove files that nobody owns; returns how many folders of jobs were among them."""
        candidates = self._storage.job_ids()
        swept = self._storage.sweep(self._store.known(candidates), candidates, min_age=min_age)
        if swept:
            _log.info("ownerless files removed", extra={"jobs": swept})
        return len(swept)
