"""How loops are compiled: by numba, for one signature, kept for the next process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba


def compiled(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile for one signature (none: as its callers need it), for good where a folder can keep the result.

    The result runs without Python's lock. Its module should be imported late, for compiling takes seconds.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compile_: Any = partial(numba.njit, *signature, no_cfunc_wrapper=True, nogil=True, error_model="numpy")
        try:
            return compile_(cache=True)(function)
        except RuntimeError:  # no folder can be written
            return compile_()(function)

    return decorate
