"""Compile loops with numba and cache the result for later processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba


def compiled(*signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that compiles a function for one signature and caches the result if a folder is writable.

    The compiled function releases the GIL. Import its module late, since compiling takes seconds.

    Args:
        signature: A numba signature. Without it, the function is compiled for its arguments when it is first called.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compile_: Any = partial(numba.njit, *signature, no_cfunc_wrapper=True, nogil=True, error_model="numpy")
        try:
            return compile_(cache=True)(function)
        except RuntimeError:  # no cache folder is writable
            return compile_()(function)

    return decorate
