"""Errors of the service layer, and the one table that says what each error means to a caller.

ServiceError
├── UsageError               options that do not fit together, an output that is in the way
├── MaskFileError            the mask picture cannot be read
│   └── MaskSizeError        it has not the video's display size
├── JobNotFoundError         no job has this id
├── LostJobError             a job that is not, or no longer, what the caller took it for
├── IdempotencyConflictError an Idempotency-Key that was used for another payload
├── QueueFullError           as many jobs wait as are allowed
├── TooManyJobsError         as many unfinished jobs of one API key as are allowed
├── TooManyFramesError       a video turned out to have more frames than are allowed
├── StorageFullError         the quota or the disk is used up
└── RunError                 a run that could not be finished
    └── WorkerDiedError      the worker of a job died, twice

Lower layers raise their own errors; `ERROR_MAPPINGS` translates: one column a transport.
"""

from __future__ import annotations

from dataclasses import dataclass

import codec.errors as codec_errors
import vos.errors as vos_errors


class ServiceError(Exception):
    """Base of every error that this layer raises."""


class UsageError(ServiceError):
    """What was asked for cannot be done as asked."""


class MaskFileError(ServiceError):
    """The mask picture cannot be used."""


class MaskSizeError(MaskFileError):
    """The mask picture has another size than the video is displayed at."""


class JobNotFoundError(ServiceError):
    """No job has this id, or it was deleted."""


class LostJobError(ServiceError):
    """The job is not, or no longer, what the caller took it for."""


class IdempotencyConflictError(ServiceError):
    """The same Idempotency-Key came with another payload."""


class QueueFullError(ServiceError):
    """No further job may wait."""


class TooManyJobsError(ServiceError):
    """This API key may have no further unfinished job."""


class TooManyFramesError(ServiceError):
    """The video turned out to have more frames than are allowed."""


class StorageFullError(ServiceError):
    """There is no room for further files."""


class RunError(ServiceError):
    """A run failed for a reason that is not the input's."""


class WorkerDiedError(RunError):
    """The worker died while it ran this job, and so did the one that ran it again."""


DONE = 0
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""128 + SIGINT, as shells report a program ended by Ctrl-C."""


@dataclass(frozen=True, slots=True)
class ErrorMapping:
    """What an error means to the caller.

    Attributes:
        exit_code: Exit code of the command line.
        problem: Name of the problem type over HTTP, a key of `service.problems.PROBLEMS`.
        expected: Whether the message is written for users; an unexpected error is a defect and names its type.
    """

    exit_code: int
    problem: str = "internal-error"
    expected: bool = True


ERROR_MAPPINGS: tuple[tuple[type[BaseException], ErrorMapping], ...] = (
    (codec_errors.BrokenStreamError, ErrorMapping(FAILED, "video-truncated")),
    (codec_errors.NoVideoError, ErrorMapping(BAD_INPUT, "no-video-stream")),
    (codec_errors.EncryptedError, ErrorMapping(BAD_INPUT, "video-encrypted")),
    (codec_errors.NoFramesError, ErrorMapping(BAD_INPUT, "no-frames")),
    (codec_errors.UnsupportedSizeError, ErrorMapping(BAD_INPUT, "too-many-pixels")),
    (codec_errors.EncodingError, ErrorMapping(BAD_INPUT, "invalid-options")),
    (codec_errors.CodecError, ErrorMapping(BAD_INPUT, "video-unreadable")),
    (vos_errors.PromptError, ErrorMapping(BAD_INPUT, "mask-unusable")),
    (vos_errors.OptionError, ErrorMapping(BAD_INPUT, "invalid-options")),
    (vos_errors.WeightsError, ErrorMapping(BAD_INPUT, "model-unavailable")),
    (vos_errors.DatasetError, ErrorMapping(BAD_INPUT, "invalid-request")),
    (vos_errors.EvaluationError, ErrorMapping(FAILED, "run-failed")),
    (vos_errors.VosError, ErrorMapping(BAD_INPUT, "invalid-options")),
    (MaskSizeError, ErrorMapping(BAD_INPUT, "mask-size-mismatch")),
    (MaskFileError, ErrorMapping(BAD_INPUT, "mask-unreadable")),
    (JobNotFoundError, ErrorMapping(BAD_INPUT, "job-not-found")),
    (LostJobError, ErrorMapping(FAILED, "job-finished")),
    (IdempotencyConflictError, ErrorMapping(BAD_INPUT, "idempotency-conflict")),
    (QueueFullError, ErrorMapping(FAILED, "queue-full")),
    (TooManyJobsError, ErrorMapping(FAILED, "too-many-jobs")),
    (TooManyFramesError, ErrorMapping(FAILED, "too-many-frames")),
    (StorageFullError, ErrorMapping(FAILED, "storage-full")),
    (WorkerDiedError, ErrorMapping(FAILED, "worker-died")),
    (RunError, ErrorMapping(FAILED, "run-failed")),
    (ServiceError, ErrorMapping(BAD_INPUT, "invalid-request")),
    (OSError, ErrorMapping(FAILED)),
    (KeyboardInterrupt, ErrorMapping(INTERRUPTED)),
    (BaseException, ErrorMapping(FAILED, expected=False)),
)
"""First match wins: kinds stand before their base."""


def error_mapping(error: BaseException) -> ErrorMapping:
    """What `error` means to the caller."""
    return next(mapping for kind, mapping in ERROR_MAPPINGS if isinstance(error, kind))


def message_of(error: BaseException) -> str:
    """One line that tells a user what went wrong."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split()) or type(error).__name__
    if error_mapping(error).expected:
        return text
    return f"unexpected {type(error).__name__}: {text} (set KEYMASK_DEBUG=1 for the traceback)"
