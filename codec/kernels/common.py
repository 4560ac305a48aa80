"""Array types and small functions shared by the kernels."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types as nb

INT32_1D = nb.int32[::1]
INT32_3D = nb.int32[:, :, ::1]
FLOAT32_1D = nb.float32[::1]
FLOAT32_2D = nb.float32[:, ::1]
UINT8_2D_READONLY = nb.Array(nb.uint8, 2, "C", readonly=True)
UINT8_3D = nb.uint8[:, :, ::1]

SUBPIXELS = 16
"""Vectors are rounded to 1/16 pixel, so that the product of two weights and a pixel fits 16 bits."""

_njit: Any = numba.njit
inlined: Any = _njit(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")
"""Decorator for functions that are inlined into the kernels calling them."""


@inlined
def clamp(value, low, high):
    """The nearest value in [low, high]."""
    return min(max(value, low), high)


@inlined
def split_subpixels(distance):
    """Split a vector component into whole pixels and the weight of the next pixel, 0 to 15 sixteenths."""
    sixteenths = int(np.floor(distance * SUBPIXELS + 0.5))
    return sixteenths >> 4, sixteenths & 15
