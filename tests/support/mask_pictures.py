"""Masks in the forms that annotation tools write."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from codec.types import MotionSource, UInt8Array, VideoInfo

DAVIS = np.array(
    [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128)],
    np.uint8,
)
"""First colors of the palette of DAVIS and PASCAL VOC, as their devkits list them."""
VOID = (224, 224, 192)


def video_info(width: int = 160, height: int = 96, **changes: Any) -> VideoInfo:
    """Describe a video of this size."""
    values: dict[str, Any] = {
        "codec": "h264", "pixel_format": "yuv420p", "coded_width": width, "coded_height": height,
        "analysis_width": width, "analysis_height": height, "rotation": 0, "mirrored": False,
        "sample_aspect_ratio": Fraction(1), "average_rate": None, "frames_from_header": None,
        "duration_seconds_from_header": None, "motion_source": MotionSource.BITSTREAM,
    }  # fmt: skip
    return VideoInfo(**values | changes)


def discs(width: int = 160, height: int = 96, count: int = 3, radius: int = 12) -> UInt8Array:
    """Return labels with discs 1, 2, ... in a row, on background."""
    rows, columns = np.mgrid[:height, :width]
    labels = np.zeros((height, width), np.uint8)
    for number in range(1, count + 1):
        center = width * number / (count + 1)
        labels[(rows - height / 2) ** 2 + (columns - center) ** 2 < radius**2] = number
    return labels


def indexed(labels: UInt8Array, palette: UInt8Array = DAVIS) -> Image.Image:
    """Return labels as a picture with a palette."""
    picture = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    picture.putpalette(palette.tobytes())
    return picture


def smooth(picture: Image.Image, factor: int = 4) -> Image.Image:
    """Return a picture whose edges are anti-aliased: drawn large and scaled down."""
    width, height = picture.size
    large = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    blurred = large.filter(ImageFilter.GaussianBlur(factor / 2))
    return blurred.resize((width, height), Image.Resampling.BOX)


def file_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    """Return an array as an NPY file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
