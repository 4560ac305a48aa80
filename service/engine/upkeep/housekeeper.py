"""Removes deleted jobs, expired jobs and orphaned files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from service.engine.upkeep.wall_clock import SettledClock
from service.errors import JobNotFoundError, StorageUnavailableError
from service.jobs.store import JobStore
from service.storage.job_files import Storage

_log = logging.getLogger(__name__)


class Housekeeper:
    """Each method may be interrupted; the next call finishes its work. Files are deleted first, the row last."""

    def __init__(self, store: JobStore, storage: Storage, clock: SettledClock | None = None) -> None:
        self._store = store
        self._storage = storage
        self._clock = clock or SettledClock(store.retention.total_seconds)

    def remove_deleted(self) -> int:
        """Remove the jobs that are pending deletion and not running; return their number."""
        return _for_each(self._store.pending_deletion(), self._remove)

    def expire(self) -> int:
        """Request the deletion of expired jobs; return their number.

        After a jump of the wall clock nothing expires until it has run evenly for one retention: until then, every job
        was kept for as long as promised. Expiries that a wrong clock has set too late are corrected.
        """
        now = self._clock.now()
        if now is None:
            return 0
        self._store.cap_expiry(now)
        return _for_each((job.id for job in self._store.expired(now)), self._expire)

    def _remove(self, job_id: str) -> None:
        self._storage.delete(job_id)
        self._store.remove(job_id)

    def _expire(self, job_id: str) -> None:
        with suppress(JobNotFoundError):  # its owner has deleted it meanwhile
            self._store.request_delete(job_id)
            _log.info("job expired", extra={"job_id": job_id})

    def sweep(self) -> int:
        """Remove orphaned files, as `Storage.sweep` does; return the number of deleted job folders."""
        candidates = self._storage.job_ids()
        swept = self._storage.sweep(self._store.known(candidates), candidates)
        if swept:
            _log.info("orphaned files removed", extra={"jobs": swept})
        return len(swept)


def _for_each(job_ids: Iterable[str], action: Callable[[str], None]) -> int:
    """Do something for each job and return the number of jobs; one that fails does not keep the others from it.

    Raises:
        SQLAlchemyError: The database fails, which is no fault of a job.
        StorageUnavailableError: The object store is away.
    """
    done = 0
    for job_id in job_ids:
        try:
            action(job_id)
        except (SQLAlchemyError, StorageUnavailableError):
            raise
        except Exception:
            _log.warning("housekeeping of a job failed", extra={"job_id": job_id}, exc_info=True)
        else:
            done += 1
    return done
