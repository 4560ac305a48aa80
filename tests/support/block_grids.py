"""Synthetic motion vector records."""

from __future__ import annotations

import numpy as np

from codec.types import VectorArray

RECORD = np.dtype(
    [
        ("source", "i4"),
        ("w", "u1"),
        ("h", "u1"),
        ("src_x", "i2"),
        ("src_y", "i2"),
        ("dst_x", "i2"),
        ("dst_y", "i2"),
        ("flags", "u8"),
        ("motion_x", "i4"),
        ("motion_y", "i4"),
        ("motion_scale", "u2"),
    ],
    align=True,
)
"""Layout of AVMotionVector (libavutil/motion_vector.h)."""


def random_records(width: int, height: int, seed: int, scale: int = 4) -> VectorArray:
    """Records of random macroblocks that cover a picture: four partitions, one list, both or none."""
    rng = np.random.default_rng(seed)
    rows = []
    for top in range(0, height, 16):
        for left in range(0, width, 16):
            w, h = ((16, 16), (16, 8), (8, 16), (8, 8))[rng.integers(4)]
            for source in ((-1,), (1,), (-1, 1), ())[rng.integers(4)]:
                for y in range(top, top + 16, h):
                    for x in range(left, left + 16, w):
                        mx, my = rng.integers(-70, 70, 2)
                        rows.append((source, w, h, 0, 0, x + w // 2, y + h // 2, 0, mx, my, scale))
    return np.array(rows, RECORD)
