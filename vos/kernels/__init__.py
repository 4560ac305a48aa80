"""Loops over cells and pixels of soft masks, compiled by numba. They have no effects but on their output arrays.

As in `codec.kernels`, each function is compiled for one signature when this package is first imported, and cached.

Common arguments:
    vectors: float32 [2, rows, columns, 2], (dx, dy) in analysis pixels.
    slots: int32 [2, rows, columns], frame of a table that each list points to, -1 for none.
    occupied: bool [frames, rows, columns], cells of the table's frames on or around an object.
    soft: float32 [K, rows, columns], soft masks.
"""

from vos.kernels.fill_missing import fill_missing
from vos.kernels.guided_labels import guided_labels
from vos.kernels.rasterize_labels import rasterize_labels
from vos.kernels.reductions import mask_confidence, mean_absolute
from vos.kernels.warp import lookup_slots, sampling, warp

__all__ = [
    "fill_missing",
    "guided_labels",
    "lookup_slots",
    "mask_confidence",
    "mean_absolute",
    "rasterize_labels",
    "sampling",
    "warp",
]
