"""What an error means to the caller."""

from __future__ import annotations

from itertools import combinations

import pytest

from codec.errors import BrokenStreamError, EncryptedError, MotionError
from service.errors import ERROR_MAPPINGS, MaskFileError, RunError, UsageError, error_mapping, message_of
from vos.errors import OptionError, PromptError, WeightsError


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (EncryptedError("x"), 2),
        (MotionError("x"), 2),
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
    """2 is for what the user can change, 1 for what broke, 130 for Ctrl-C."""
    assert error_mapping(error).exit_code == exit_code


def test_no_entry_is_hidden_by_an_earlier_one() -> None:
    """In the table a kind stands before its base, or it would never be found."""
    kinds = [kind for kind, _ in ERROR_MAPPINGS]
    assert not [(a, b) for a, b in combinations(kinds, 2) if issubclass(b, a)]


def test_a_message_is_one_line() -> None:
    """Line breaks in a message are taken out, and an empty message becomes the error's name."""
    assert message_of(UsageError("first\n  second")) == "first second"
    assert message_of(RunError()) == "RunError"


def test_an_unexpected_error_says_so() -> None:
    """An error that no layer means to raise names its type and how to see more."""
    assert message_of(KeyError("k")) == "unexpected KeyError: 'k' (set KEYMASK_DEBUG=1 for the traceback)"
