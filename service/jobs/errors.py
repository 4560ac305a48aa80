"""Errors of jobs and their files.

ServiceError
├── JobNotFoundError         no job has this id
├── IdempotencyConflictError an Idempotency-Key that was used for another payload
├── QueueFullError           as many jobs wait as are allowed
├── TooManyJobsError         as many unfinished jobs of one API key as are allowed
├── StorageFullError         the quota or the disk is used up
└── RunError
    └── WorkerDiedError      the worker of a job died, twice
"""

from __future__ import annotations

from service.errors import RunError, ServiceError


class JobNotFoundError(ServiceError):
    """No job has this id, or it was deleted."""


class IdempotencyConflictError(ServiceError):
    """The same Idempotency-Key came with another payload."""


class QueueFullError(ServiceError):
    """No further job may wait."""


class TooManyJobsError(ServiceError):
    """This API key may have no further unfinished job."""


class StorageFullError(ServiceError):
    """There is no room for further files."""


class WorkerDiedError(RunError):
    """The worker died while it ran this job, and so did the one that ran it again."""


class LostJobError(ServiceError):
    """The job is not, or no longer, what the caller took it for."""
