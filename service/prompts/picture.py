"""A mask as a picture, before it is decided what its values mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.types import UInt8Array
from service.errors import MaskFileError

BoolArray = npt.NDArray[np.bool_]
Kind = Literal["indices", "greys", "colors"]

_TWO_VALUES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Values of a mask picture.

    Attributes:
        kind: "indices" into a palette, "greys", or "colors".
        values: Indices uint8 [height, width], greys uint8, uint16 or int64 [height, width], or RGB uint8
            [height, width, 3]. Transparent pixels are 0, except in indices.
        palette: RGBA uint8 [n, 4] of indices.
        is_lossy: Whether the file format changes values, as JPEG does.
        is_array: Whether the values come from an array, which has ids rather than shades.
        notes: What was unusual about the picture, in plain words.
    """

    kind: Kind
    values: npt.NDArray[Any]
    palette: UInt8Array | None = None
    is_lossy: bool = False
    is_array: bool = False
    notes: tuple[str, ...] = ()


def picture_of_image(image: Image.Image, *, is_lossy: bool) -> Picture:
    """Convert a decoded image."""
    mode = image.mode
    if mode == "P":
        return Picture("indices", np.array(image, np.uint8), _palette(image), is_lossy)
    if mode == "F":
        return picture_of_array(np.array(image), is_lossy=is_lossy)
    if mode.startswith("I"):  # 16 bits, or 32 bits with a sign
        values = np.array(image)
        if values.min() < 0:
            raise MaskFileError(f"the mask has values from {values.min()}; allowed: 0 or more")
        return Picture("greys", values, is_lossy=is_lossy)
    if mode == "1":
        image, mode = image.convert("L"), "L"
    if "transparency" in image.info and mode in ("L", "RGB"):
        image = image.convert("RGBA")
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if mode in ("PA", "La", "RGBa") else "RGB")
    pixels = np.array(image, np.uint8)
    return Picture("greys", pixels, is_lossy=is_lossy) if pixels.ndim == 2 else _without_alpha(pixels, is_lossy)


def picture_of_array(array: npt.NDArray[Any], *, is_lossy: bool = False, is_array: bool = True) -> Picture:
    """Convert an array, from a file or from the same process.

    Args:
        array: Bool or integer [height, width] with object ids; float [height, width] with whole ids, or with
            probabilities from 0 to 1; uint8 [height, width, 3 or 4] with colors. A last axis of 1 is dropped.
        is_lossy: Whether the values went through a lossy format.
        is_array: Whether integers are ids.

    Raises:
        MaskFileError: The array is of another shape or type, or has values that are not allowed.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    is_flat = array.ndim == 2 and array.dtype.kind in "buif"
    is_colored = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    if not array.size or not (is_flat or is_colored):
        raise MaskFileError(
            f"the mask is an array of {array.dtype} {list(array.shape)}; allowed: object ids [height, width], "
            "or uint8 colors [height, width, 3 or 4]"
        )
    if is_colored:
        return _without_alpha(array, is_lossy)
    if array.dtype.kind == "f":
        return _of_floats(array, is_lossy)
    if array.min() < 0:
        raise MaskFileError(f"the mask has values from {array.min()}; allowed: 0 or more")
    return Picture("greys", array.astype(np.uint8) if array.max() <= 255 else array, None, is_lossy, is_array)


def _of_floats(array: npt.NDArray[Any], is_lossy: bool) -> Picture:
    lowest, highest = float(array.min()), float(array.max())
    if not (lowest >= 0 and highest <= 255):  # false for NaN, too
        raise MaskFileError(
            f"the mask has floating-point values from {lowest:g} to {highest:g}; allowed: whole object ids, or "
            "probabilities from 0 to 1"
        )
    if np.array_equal(array, np.floor(array)):
        return picture_of_array(array.astype(np.uint8), is_lossy=is_lossy)
    if highest > 1:
        raise MaskFileError(
            f"the mask has fractions and values up to {highest:g}; allowed: whole object ids, or probabilities "
            "from 0 to 1"
        )
    note = "the mask has probabilities; object 1 is where they are at least 0.5"
    return Picture("greys", (array >= 0.5).astype(np.uint8), None, is_lossy, True, (note,))


def _palette(image: Image.Image) -> UInt8Array:
    """RGBA uint8 [256, 4]; entries that the file lacks are opaque black."""
    table = np.zeros((256, 4), np.uint8)
    table[:, 3] = 255
    colors = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    table[: len(colors), :3] = colors
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        table[: len(transparency), 3] = np.frombuffer(transparency[:256], np.uint8)
    elif isinstance(transparency, int) and 0 <= transparency < 256:
        table[transparency, 3] = 0
    return table


def _without_alpha(pixels: UInt8Array, is_lossy: bool) -> Picture:
    """Make transparent pixels black, and the others opaque."""
    has_alpha = pixels.shape[2] in (2, 4)
    colors, notes = _opaque(pixels[..., :-1], pixels[..., -1]) if has_alpha else (pixels, ())
    if colors.shape[2] == 1 or (np.ptp(colors, axis=2) == 0).all():
        return Picture("greys", np.ascontiguousarray(colors[..., 0]), None, is_lossy, notes=notes)
    return Picture("colors", np.ascontiguousarray(colors), None, is_lossy, notes=notes)


def _opaque(colors: UInt8Array, alpha: UInt8Array) -> tuple[UInt8Array, tuple[str, ...]]:
    levels = np.flatnonzero(np.bincount(alpha.ravel(), minlength=256))
    top = int(levels[-1])
    shades = len(levels[levels > 0])
    # One level of opacity is an object drawn half transparent; several are smoothed edges.
    is_opaque = alpha >= (top // 2 if shades >= _TWO_VALUES else max(top, 1))
    notes = [] if shades < _TWO_VALUES else [f"the mask has {shades} levels of opacity; pixels of half or more count"]
    if 0 < is_opaque.sum() < is_opaque.size and not colors[is_opaque].any():
        notes.append("every opaque pixel of the mask is black; the opaque pixels are object 1")
        return np.where(is_opaque[..., None], np.uint8(255), np.uint8(0)).repeat(colors.shape[2], 2), tuple(notes)
    return np.where(is_opaque[..., None], colors, np.uint8(0)), tuple(notes)
