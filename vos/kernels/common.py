"""Types of arrays that the kernels share."""

from __future__ import annotations

from numba import types as nb


def readonly(kind: nb.Type, dimensions: int) -> nb.Array:
    """Arrays in C order that are only read: such that cannot be written are taken too."""
    return nb.Array(kind, dimensions, "C", readonly=True)


VECTORS = readonly(nb.float32, 4)
SLOTS = readonly(nb.int32, 3)
OCCUPIED = readonly(nb.boolean, 3)
SOFT = readonly(nb.float32, 3)
