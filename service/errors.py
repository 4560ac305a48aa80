"""Errors of the service layer, and the one table of their exit codes and HTTP problems.

ServiceError
├── UsageError               options that do not fit together, an output that would overwrite a file
├── MaskFileError            the mask picture cannot be read
│   ├── MaskSizeError        it does not match a size of the video
│   └── AmbiguousMaskError   it is not plain which objects it marks
├── JobNotFoundError         no job has this id
├── LostJobError             the job is no longer in the state that the caller assumes
├── IdempotencyConflictError the Idempotency-Key was used for another payload
├── QueueFullError           the largest number of jobs is waiting
├── TooManyJobsError         an API key has the largest number of unfinished jobs
├── TooManyObjectsError      a prompt marks more objects than allowed
├── TooManyFramesError       a video turned out to have more frames than allowed
├── MasksTooLargeError       the masks of a job take more space than allowed
├── JobTooLongError          a job would clearly take longer than allowed
├── JobTimeoutError          a job ran longer than allowed
├── StorageFullError         the quota or the disk is used up
├── StorageUnavailableError  the object store does not answer, or the files of a request are gone
├── UrlNotAllowedError       a URL leads where the service may not connect to
├── UrlUnavailableError      a URL cannot be read
├── ProblemError             names its HTTP problem itself, see `service.problems`
└── RunError                 a run could not be finished
    └── WorkerDiedError      the worker of a job died twice

Lower layers raise their own errors. `ERROR_MAPPINGS` translates all of them: to an exit code for the command line, and
to a kind of `service.problems` for HTTP.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

import codec.errors as codec_errors
import vos.errors as vos_errors

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""`errno` of an `OSError` where no room is left for more bytes."""


class ServiceError(Exception):
    """Base of every error that this layer raises."""


class UsageError(ServiceError):
    """The request cannot be carried out as given."""


class MaskFileError(ServiceError):
    """The mask picture cannot be used."""


class MaskSizeError(MaskFileError):
    """The mask has none of the sizes in which the video can be seen.

    Args:
        message: One line for users.
        width: Width of the mask in pixels.
        height: Height of the mask in pixels.
    """

    def __init__(self, message: str, width: int, height: int) -> None:
        super().__init__(message, width, height)
        self.message = message
        self.width = width
        self.height = height

    def __str__(self) -> str:
        return self.message


class AmbiguousMaskError(MaskFileError):
    """It is not plain which objects the mask marks."""


class JobNotFoundError(ServiceError):
    """No job has this id, or it was deleted."""


class LostJobError(ServiceError):
    """The job is no longer in the state that the caller assumes."""


class IdempotencyConflictError(ServiceError):
    """The Idempotency-Key was used for another payload."""


class QueueFullError(ServiceError):
    """The queue takes no further job."""


class TooManyJobsError(ServiceError):
    """The API key has the largest number of unfinished jobs."""


class TooManyObjectsError(ServiceError):
    """The prompt marks more objects than allowed."""


class TooManyFramesError(ServiceError):
    """The video turned out to have more frames than allowed."""


class MasksTooLargeError(ServiceError):
    """The masks of a job take more space than allowed."""


class JobTooLongError(ServiceError):
    """The job would clearly take longer than allowed."""


class JobTimeoutError(ServiceError):
    """The job ran longer than allowed."""


class StorageFullError(ServiceError):
    """The quota or the disk is used up."""


class StorageUnavailableError(ServiceError):
    """The object store does not answer, or the files of a request are gone; a later attempt may succeed."""


class UrlNotAllowedError(ServiceError):
    """The URL leads where the service may not connect to."""


class UrlUnavailableError(ServiceError):
    """The server of the URL does not answer, or not with what is expected."""


class RunError(ServiceError):
    """A run failed, but not because of its input."""


class WorkerDiedError(RunError):
    """The worker died while it ran this job, and so did the next one."""


DONE = 0
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""128 + SIGINT, as shells report a program that Ctrl-C ended."""


@dataclass(frozen=True, slots=True)
class ErrorMapping:
    """Exit code and HTTP problem of an error.

    Attributes:
        exit_code: Exit code of the command line.
        problem: Kind of problem over HTTP, a key of `service.problems.PROBLEMS`.
        expected: Whether the message is written for users. An unexpected error is a defect; its message names its type.
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
    (codec_errors.NoSuchFrameError, ErrorMapping(BAD_INPUT, "invalid-options")),
    (codec_errors.CodecError, ErrorMapping(BAD_INPUT, "video-unreadable")),
    (vos_errors.PromptError, ErrorMapping(BAD_INPUT, "mask-unusable")),
    (vos_errors.OptionError, ErrorMapping(BAD_INPUT, "invalid-options")),
    (vos_errors.WeightsError, ErrorMapping(BAD_INPUT, "model-unavailable")),
    (vos_errors.DatasetError, ErrorMapping(BAD_INPUT, "invalid-request")),
    (vos_errors.EvaluationError, ErrorMapping(FAILED, "run-failed")),
    (vos_errors.VosError, ErrorMapping(BAD_INPUT, "invalid-options")),
    (MaskSizeError, ErrorMapping(BAD_INPUT, "mask-size-mismatch")),
    (AmbiguousMaskError, ErrorMapping(BAD_INPUT, "mask-ambiguous")),
    (MaskFileError, ErrorMapping(BAD_INPUT, "mask-unreadable")),
    (JobNotFoundError, ErrorMapping(BAD_INPUT, "job-not-found")),
    (LostJobError, ErrorMapping(FAILED, "job-finished")),
    (IdempotencyConflictError, ErrorMapping(BAD_INPUT, "idempotency-conflict")),
    (QueueFullError, ErrorMapping(FAILED, "queue-full")),
    (TooManyJobsError, ErrorMapping(FAILED, "too-many-jobs")),
    (TooManyObjectsError, ErrorMapping(BAD_INPUT, "too-many-objects")),
    (TooManyFramesError, ErrorMapping(FAILED, "too-many-frames")),
    (MasksTooLargeError, ErrorMapping(FAILED, "masks-too-large")),
    (JobTooLongError, ErrorMapping(BAD_INPUT, "job-too-long")),
    (JobTimeoutError, ErrorMapping(FAILED, "job-timeout")),
    (StorageFullError, ErrorMapping(FAILED, "storage-full")),
    (StorageUnavailableError, ErrorMapping(FAILED, "storage-unavailable")),
    (UrlNotAllowedError, ErrorMapping(BAD_INPUT, "url-not-allowed")),
    (UrlUnavailableError, ErrorMapping(FAILED, "url-unavailable")),
    (WorkerDiedError, ErrorMapping(FAILED, "worker-died")),
    (RunError, ErrorMapping(FAILED, "run-failed")),
    (ServiceError, ErrorMapping(BAD_INPUT, "invalid-request")),
    (OSError, ErrorMapping(FAILED)),
    (KeyboardInterrupt, ErrorMapping(INTERRUPTED)),
    (BaseException, ErrorMapping(FAILED, expected=False)),
)
"""The first match wins, so a class comes before its base."""


def error_mapping(error: BaseException) -> ErrorMapping:
    """Return what `error` means to the caller."""
    return next(mapping for kind, mapping in ERROR_MAPPINGS if isinstance(error, kind))


def message_of(error: BaseException) -> str:
    """Return one line that tells a user what went wrong."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split()) or type(error).__name__
    if error_mapping(error).expected:
        return text
    return f"unexpected {type(error).__name__}: {text} (set KEYMASK_DEBUG=1 for the traceback)"
