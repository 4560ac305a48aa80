"""Errors of the service layer, and the one table that says what each error means to a caller.

ServiceError
├── UsageError       options that do not fit together, an output that is in the way
├── MaskFileError    the mask picture cannot be read, or does not fit the video
└── RunError         a run that could not be finished

Lower layers raise their own errors; `VERDICTS` translates. A transport (command line today, HTTP later) adds a
column, not a second table.
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


class RunError(ServiceError):
    """A run failed for a reason that is not the input's."""


DONE = 0
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130
"""128 + SIGINT, as shells report a program ended by Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error means to the caller.

    Attributes:
        exit_code: Exit code of the command line.
        expected: Whether the message is written for users; an unexpected error is a defect and names its type.
    """

    exit_code: int
    expected: bool = True


VERDICTS: tuple[tuple[type[BaseException], Verdict], ...] = (
    (codec_errors.BrokenStreamError, Verdict(FAILED)),
    (codec_errors.CodecError, Verdict(BAD_INPUT)),
    (vos_errors.VosError, Verdict(BAD_INPUT)),
    (RunError, Verdict(FAILED)),
    (ServiceError, Verdict(BAD_INPUT)),
    (OSError, Verdict(FAILED)),
    (KeyboardInterrupt, Verdict(INTERRUPTED)),
    (BaseException, Verdict(FAILED, expected=False)),
)
"""First match wins: kinds stand before their base."""


def verdict_of(error: BaseException) -> Verdict:
    """What `error` means to the caller."""
    return next(verdict for kind, verdict in VERDICTS if isinstance(error, kind))


def message_of(error: BaseException) -> str:
    """One line that tells a user what went wrong."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = " ".join(str(error).split()) or type(error).__name__
    if verdict_of(error).expected:
        return text
    return f"unexpected {type(error).__name__}: {text} (set KEYMASK_DEBUG=1 for the traceback)"
