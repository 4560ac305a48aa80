"""Encode masks as the PNG files that the service reads."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

MaskLike: TypeAlias = "str | os.PathLike[str] | bytes | npt.NDArray[Any] | Any"
"""Path or bytes of a PNG, array [height, width] of object ids (or bool), or PIL image."""


def to_png(mask: MaskLike) -> bytes:
    """Return the PNG bytes of a mask.

    Raises:
        ValueError: An array is not [height, width] of integers 0 to 255.
        OSError: The file cannot be read.
    """
    if isinstance(mask, bytes):
        return mask
    if isinstance(mask, (str, os.PathLike)):
        return Path(mask).read_bytes()
    return encode(labels_of(mask))


def encode(labels: npt.NDArray[np.uint8]) -> bytes:
    """Encode object ids uint8 [height, width] as an indexed PNG (PNG specification, clauses 5 and 11)."""
    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter type, 0: none
    rows[:, 1:] = labels
    palette = np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def labels_of(mask: Any) -> npt.NDArray[np.uint8]:
    """Return the object ids, uint8 [height, width], of an array or a PIL image.

    Raises:
        ValueError: An array is not [height, width] of integers 0 to 255.
    """
    array: npt.NDArray[Any] = np.asarray(mask)
    mode = getattr(mask, "mode", None)
    if mode is not None and mode not in ("P", "1"):
        # The service reads such files in the same way: all pixels that are not black are object 1.
        colours = array if array.ndim == 2 else array[..., : 1 if mode == "LA" else 3].any(axis=-1)
        return np.asarray(colours != 0, np.uint8)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "bui" or array.min() < 0 or array.max() > 255:
        raise ValueError(
            f"a mask is an array [height, width] of object ids 0 to 255; given: {array.dtype} {list(array.shape)}"
        )
    return array.astype(np.uint8)
