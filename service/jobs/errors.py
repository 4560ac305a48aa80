"""Errors of jobs and their files, as `service.errors` has them."""

from service.errors import (
    IdempotencyConflictError,
    JobNotFoundError,
    LostJobError,
    QueueFullError,
    StorageFullError,
    TooManyJobsError,
    WorkerDiedError,
)

__all__ = [
    "IdempotencyConflictError",
    "JobNotFoundError",
    "LostJobError",
    "QueueFullError",
    "StorageFullError",
    "TooManyJobsError",
    "WorkerDiedError",
]
