"""What the kernels share: types of arrays, and small functions that become part of each."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types as nb

GRID = nb.int32[:, :, ::1]
VECTORS = nb.float32[:, ::1]
NUMBERS = nb.int32[::1]
PICTURES = nb.uint8[:, :, ::1]
FRAME = nb.Array(nb.uint8, 2, "C", readonly=True)

WHOLE = 16
"""Weight of a whole pixel: vectors are placed to 1/16 pixel, so that two weights and a value multiply to 16 bits."""


_njit: Any = numba.njit
inlined: Any = _njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")
"""Makes a function part of the compiled ones that call it."""


@inlined
def clamped(value, low, high):
    """The nearest value in [low, high]."""
    return min(max(value, low), high)


@inlined
def placed(distance):
    """A vector's part in 1/16 pixels -> whole pixels and the weight of the next one, 0 to 15."""
    steps = int(np.floor(distance * WHOLE + 0.5))
    return steps >> 4, steps & 15
