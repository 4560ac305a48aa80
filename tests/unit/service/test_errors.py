"""The error table: exit codes and messages."""

from __future__ import annotations

from itertools import combinations

import pytest

from codec.errors import BrokenStreamError, EncryptedError, MotionError, NoSuchFrameError
from service.errors import ERROR_MAPPINGS, MaskFileError, RunError, UsageError, error_mapping, message_of
from vos.errors import OptionError, PromptError, WeightsError


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (EncryptedError("x"), 2),
        (MotionError("x"), 2),
        (NoSuchFrameError("x"), 2),
        (PromptError("x"), 2),
        (OptionError("x"), 2),
        (WeightsError("x"), 2),
        (UsageError("x"), 2),
        (MaskFileError("x"), 2),
        (BrokenStreamError("x", 3), 1),
        (RunError("x"), 1),
        (OSError(28, "No space left on device"), 1),
        (ZeroDivisionError("x"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error: BaseException, exit_code: int) -> None:
    """The exit code is 2 for bad usage or input, 1 for a failure and 130 for Ctrl-C."""
    assert error_mapping(error).exit_code == exit_code


def test_no_entry_is_hidden_by_an_earlier_one() -> None:
    """A class comes before its base in the table, or it would never match."""
    kinds = [kind for kind, _ in ERROR_MAPPINGS]
    assert not [(a, b) for a, b in combinations(kinds, 2) if issubclass(b, a)]


def test_a_message_is_one_line() -> None:
    """Line breaks are removed from a message, and an empty message becomes the error's name."""
    assert message_of(UsageError("first\n  second")) == "first second"
    assert message_of(RunError()) == "RunError"


def test_an_unexpected_error_says_so() -> None:
    """The message of an unexpected error has its type and says how to see the traceback."""
    assert message_of(KeyError("k")) == "unexpected KeyError: 'k' (set KEYMASK_DEBUG=1 for the traceback)"
