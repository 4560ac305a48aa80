"""Turn masks into the files that the service reads. The service decides what they mean."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from keymask.errors import InvalidArgumentError

MaskLike: TypeAlias = "str | os.PathLike[str] | bytes | npt.NDArray[Any] | Any"
"""Path or bytes of a mask file (PNG, JPEG, BMP, WebP, TIFF or NPY), PIL image, or array or torch tensor: object ids or
bool [height, width], probabilities 0 to 1 [height, width], or uint8 colors [height, width, 3 or 4]."""

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def to_file(mask: MaskLike) -> bytes:
    """Return a mask as the bytes of a file.

    Raises:
        InvalidArgumentError: An array has a type that no mask has.
        OSError: The file cannot be read.
    """
    if isinstance(mask, bytes):
        return mask
    if isinstance(mask, (str, os.PathLike)):
        return Path(mask).read_bytes()
    if hasattr(mask, "save") and hasattr(mask, "mode"):
        return _image_file(mask)
    return _array_file(to_array(mask))


def to_array(mask: Any) -> npt.NDArray[Any]:
    """Return an array or torch tensor as an array.

    Raises:
        InvalidArgumentError: It has a type that no mask has.
    """
    array = np.asarray(mask.detach().cpu() if hasattr(mask, "detach") else mask)
    if array.dtype.kind not in "buif" or not array.size:
        raise InvalidArgumentError(
            "a mask is a path, bytes, a PIL image or an array of numbers such as object ids [height, width]; given: "
            f"{type(mask).__name__}, {array.dtype} {list(array.shape)}"
        )
    return array


def davis_palette() -> bytes:
    """Return the colors of the DAVIS data set, 3 bytes for each of the 256 object ids.

    Bits 0, 1, 2 of the id are the top bits of red, green, blue; bits 3, 4, 5 their second bits; and so on.
    """
    colors = bytearray()
    for label in range(256):
        for channel in range(3):
            bits = (label >> (3 * group + channel) & 1 for group in range(3))
            colors.append(sum(bit << 7 - group for group, bit in enumerate(bits)))
    return bytes(colors)


def encode(labels: npt.NDArray[np.uint8], palette: bytes = bytes(3 * 256)) -> bytes:
    """Encode object ids uint8 [height, width] as an indexed PNG (PNG specification, clauses 5 and 11).

    By default, the palette is black throughout, so that nothing but the indices can have a meaning.
    """
    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter type, 0: none
    rows[:, 1:] = labels
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


def _image_file(image: Any) -> bytes:
    if image.mode == "F":
        return _array_file(np.asarray(image))
    buffer = io.BytesIO()
    (image if image.mode in _PNG_MODES else image.convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()


def _array_file(array: npt.NDArray[Any]) -> bytes:
    if array.ndim == 2 and array.dtype.kind in "bui" and array.min() >= 0 and array.max() <= 255:
        return encode(array.astype(np.uint8))  # far smaller than the array
    buffer = io.BytesIO()
    np.save(buffer, array.astype(np.float32) if array.dtype == np.float64 else array, allow_pickle=False)
    return buffer.getvalue()
