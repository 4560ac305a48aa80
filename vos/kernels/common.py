"""Array types that the kernels share."""

from __future__ import annotations

from numba import types as nb


def readonly(kind: nb.Type, dimensions: int) -> nb.Array:
    """Type of C-ordered arrays that are only read; read-only arrays are accepted too."""
    return nb.Array(kind, dimensions, "C", readonly=True)


VECTORS = readonly(nb.float32, 4)
SLOTS = readonly(nb.int32, 3)
OCCUPIED = readonly(nb.boolean, 3)
SOFT = readonly(nb.float32, 3)
