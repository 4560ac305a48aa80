"""Answers of sandboxed processes: JSON that is checked against types, because the sender may be hostile.

A result has the type that its function declares to return. An error has the name of a class from a list. Nothing in an
answer can name code or a file.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

import codec.errors as codec_errors
import service.errors as service_errors
import vos.errors as vos_errors
from service.problems import PROBLEMS, ProblemError

MAX_BYTES = 4 << 20
"""Largest answer. Checking one of lists without content takes the parent about ten times as much memory."""
_MAX_MESSAGE = 4000
_RESULT, _ERROR = b"+", b"-"
_MEMBERS = frozenset(("limit", "option", "errors", "mask", "video", "allowed", "frames"))
"""Members of problem documents beside the standard ones."""
_SPECIAL = ("BrokenStreamError", "MaskSizeError", "ProblemError")
"""Errors whose constructor takes more than a message."""
_ERRORS: dict[str, type[Exception]] = {
    name: kind
    for module in (codec_errors, vos_errors, service_errors)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and name not in _SPECIAL
} | {name: getattr(builtins, name) for name in ("MemoryError", "OSError", "RuntimeError", "TypeError", "ValueError")}
"""Name -> class of errors that consist of a message."""


class MalformedAnswerError(Exception):
    """The answer is not what the function returns."""


class _Failure(BaseModel):
    """An error on its way between processes.

    Attributes:
        kind: Name of the error's class.
        message: The error in one line.
        frames: `BrokenStreamError.frames`.
        size: Width and height of a `MaskSizeError`.
        problem: `ProblemError.kind`.
        members: `ProblemError.members`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Annotated[str, Field(max_length=64)]
    message: Annotated[str, Field(max_length=_MAX_MESSAGE)]
    frames: Annotated[int | None, Field(ge=0, le=2**53)] = None
    size: tuple[int, int] | None = None
    problem: str | None = None
    members: dict[str, JsonValue] = {}


def encode_result(function: Callable[..., Any], result: Any) -> bytes:
    """Encode what a function has returned.

    Raises:
        ValueError: It is not of the type that the function declares, or too large.
    """
    data = _RESULT + _result_type(function).dump_json(result)
    if len(data) > MAX_BYTES:
        raise ValueError(f"the answer has {len(data):,} bytes; allowed: {MAX_BYTES:,}")
    return data


def encode_error(error: BaseException) -> bytes:
    """Encode an error. One of a class that `decode` does not know becomes a base class or a `RunError`."""
    kind = next((kind.__name__ for kind in type(error).__mro__ if _ERRORS.get(kind.__name__) is kind), "RunError")
    message = service_errors.message_of(error) if kind == "RunError" else str(error)
    failure = _Failure(kind=kind, message=message[:_MAX_MESSAGE])
    if isinstance(error, codec_errors.BrokenStreamError):
        failure = failure.model_copy(update={"kind": "BrokenStreamError", "frames": error.frames})
    elif isinstance(error, service_errors.MaskSizeError):
        failure = failure.model_copy(update={"kind": "MaskSizeError", "size": (error.width, error.height)})
    elif isinstance(error, ProblemError):
        update = {"kind": "ProblemError", "problem": error.kind, "members": error.members}
        failure = failure.model_copy(update=update)
    return _ERROR + failure.model_dump_json().encode()


def decode(function: Callable[..., Any], data: bytes) -> Any:
    """Return the result in an answer.

    Args:
        function: The function that was called.
        data: The answer.

    Raises:
        MalformedAnswerError: The answer is neither a result of this function nor an error.
        Exception: The error that the function has raised.
    """
    head, rest = data[:1], data[1:]
    if len(data) > MAX_BYTES:
        raise MalformedAnswerError(f"the answer has more than {MAX_BYTES:,} bytes")
    try:
        if head == _RESULT:
            return _result_type(function).validate_json(rest, strict=True)
        failure = _Failure.model_validate_json(rest) if head == _ERROR else None
    except (ValidationError, ValueError, RecursionError) as error:
        raise MalformedAnswerError(f"the answer is not what {_name(function)} returns") from error
    if failure is None:
        raise MalformedAnswerError("the answer is neither a result nor an error")
    raise _error_of(failure)


def _error_of(failure: _Failure) -> Exception:
    if failure.kind == "ProblemError":
        if failure.problem is None or failure.problem not in PROBLEMS or not failure.members.keys() <= _MEMBERS:
            return MalformedAnswerError("the answer is a problem that does not exist")
        return ProblemError(failure.problem, failure.message, **failure.members)
    if failure.kind == "BrokenStreamError":
        return codec_errors.BrokenStreamError(failure.message, failure.frames or 0)
    if failure.kind == "MaskSizeError":
        return service_errors.MaskSizeError(failure.message, *(failure.size or (0, 0)))
    kind = _ERRORS.get(failure.kind)
    return MalformedAnswerError("the answer is an unknown error") if kind is None else kind(failure.message)


@lru_cache
def _result_type(function: Callable[..., Any]) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(function, include_extras=True).get("return", JsonValue))


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "the function")
