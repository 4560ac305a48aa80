"""How a decoded picture is turned for display: from the container's display matrix (pure)."""

from __future__ import annotations

import math

import av
import numpy as np
import numpy.typing as npt

from codec.decode.side_data import display_matrix


def orientation(matrix: npt.NDArray[np.int32]) -> tuple[int, bool]:
    """Rotation and mirroring that a display matrix stands for.

    Args:
        matrix: int32 [3, 3] in FFmpeg's order (libavutil/display.h): a decoded pixel (x, y), y downwards, is shown at
            (a x + c y, b x + d y) with rows (a, b, u), (c, d, v), (x0, y0, w).

    Returns:
        Degrees clockwise (0, 90, 180 or 270; the nearest for a slanted matrix) that turn the picture upright, and
        whether it is then flipped left to right.
    """
    (a, b), (c, d) = matrix[:2, :2].astype(float)
    mirrored = bool(a * d < b * c)
    degrees = math.degrees(math.atan2(b, -a if mirrored else a))
    return round(degrees / 90) * 90 % 360, mirrored


def orientation_of(frame: av.VideoFrame) -> tuple[int, bool]:
    """Rotation and mirroring of a decoded picture, (0, False) if it says nothing."""
    matrix = display_matrix(frame)
    if matrix is None:  # or hidden by side data that PyAV has no name for: then it still gives the rotation
        return -frame.rotation % 360, False
    return orientation(matrix)
