"""Derive the display orientation of a decoded picture from the container's display matrix."""

from __future__ import annotations

import math

import av
import numpy as np
import numpy.typing as npt

from codec.decode.side_data import display_matrix


def orientation(matrix: npt.NDArray[np.int32]) -> tuple[int, bool]:
    """Rotation and mirroring of a display matrix.

    Args:
        matrix: int32 [3, 3] in FFmpeg's order (libavutil/display.h), with rows (a, b, u), (c, d, v), (x0, y0, w). A
            decoded pixel (x, y), y downwards, is shown at (a x + c y, b x + d y).

    Returns:
        Degrees clockwise that turn the picture upright (0, 90, 180 or 270, whichever is nearest), and whether the
        upright picture is then flipped left to right.
    """
    (a, b), (c, d) = matrix[:2, :2].astype(float)
    mirrored = bool(a * d < b * c)
    degrees = math.degrees(math.atan2(b, -a if mirrored else a))
    return round(degrees / 90) * 90 % 360, mirrored


def orientation_of(frame: av.VideoFrame) -> tuple[int, bool]:
    """Rotation and mirroring of a decoded picture as `orientation` returns them, (0, False) by default."""
    matrix = display_matrix(frame)
    if matrix is None:  # PyAV knows the rotation even where unknown side data hides the matrix
        return -frame.rotation % 360, False
    return orientation(matrix)
