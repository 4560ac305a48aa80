"""Loops over blocks and pixels, compiled by numba (pure but for the arrays they fill).

Everything is compiled for its one signature when this package is first imported and kept in numba's cache: where
NUMBA_CACHE_DIR says, beside these files, or in the user's cache folder. So it is imported late: by what analyses
frames, not by what only opens a file. `python -m codec.kernels` compiles and says where the result is kept.

Common arguments:
    records: AVMotionVector records [n], a view of each field.
    block: int32 [2, rows, columns], by list the number of the block that covers a cell, -1 for none.
    vectors: float32 [n + 1, 2], (dx, dy) of each block in pixels; the last row, 0, is for "no block".
    slot: int32 [n + 1], by block the reference picture it is predicted from, -1 for none; the last entry is -1.
    lists: int32 [n], each block's list.
    corners: float32 [n, 4], (left, top, width, height) of each block in pixels.
    pictures: uint8 [slots, height, width], the reference pictures.
    luma: uint8 [height, width], the frame itself.
"""

from codec.kernels.compensate import compensate
from codec.kernels.match import rematch, unfold
from codec.kernels.rasterize import gather, lay

__all__ = ["compensate", "gather", "lay", "rematch", "unfold"]
