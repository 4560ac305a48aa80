"""Loops over blocks and pixels, compiled by numba. Kernels change nothing but their output arrays.

Importing this package compiles all kernels and stores them in numba's cache: in NUMBA_CACHE_DIR, beside these files, or
in the user's cache folder. So it is imported late, by code that analyzes frames. `python -m codec.kernels` compiles the
kernels ahead of time and prints the cache folder.

Common arguments:
    block_of_cell: int32 [2, rows, columns], by list the block that covers a cell, -1 for none.
    vectors: float32 [blocks + 1, 2], (dx, dy) of each block in pixels. The last row is 0 for "no block".
    slots: int32 [blocks + 1], slot of the reference picture of each block, -1 for none. The last entry is -1.
    lists: int32 [blocks], prediction list of each block, 0 or 1.
    boxes: float32 [blocks, 4], (left, top, width, height) of each block in pixels.
    pictures: uint8 [slots, height, width], the reference pictures.
    luma: uint8 [height, width], the frame.
"""

from codec.kernels.compensation import compensate
from codec.kernels.rasterize import fill_motion_field, rasterize_blocks
from codec.kernels.reference_selection import reselect_references, scale_field_vectors

__all__ = ["compensate", "fill_motion_field", "rasterize_blocks", "reselect_references", "scale_field_vectors"]
