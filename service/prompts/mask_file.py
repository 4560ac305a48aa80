"""Open mask files: PNG, JPEG, BMP, WebP, TIFF and NumPy arrays (NPY). Files may be hostile."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from service.errors import MaskFileError, MaskSizeError
from service.prompts.picture import Picture, picture_of_array, picture_of_image

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
_ALLOWED = "PNG, JPEG, BMP, WebP, TIFF or NPY"
_NPY_MAGIC = b"\x93NUMPY"
_HEAD_BYTES = 64
_pixel_limit = Lock()

SizeCheck = Callable[[tuple[int, int]], None]
"""Raises an error for a size (width, height) that is not allowed."""


def open_mask(source: Path | bytes, check_size: SizeCheck) -> Picture:
    """Read a mask file.

    Args:
        source: Path or bytes of the file.
        check_size: Called before the pixels are decoded, so that a mask never takes more memory than a frame of the
            video, and again with the size after EXIF orientation.

    Raises:
        MaskFileError: The file is missing, of another format, or damaged, or `check_size` refuses it.
    """
    name = "the mask" if isinstance(source, bytes) else f"the mask {source}"
    with _opened(source, name) as file, _plain_errors(name):
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        if head.startswith(_NPY_MAGIC):
            return picture_of_array(_read_npy(file, check_size))
        return _read_image(file, head, check_size)


def _read_image(file: BinaryIO, head: bytes, check_size: SizeCheck) -> Picture:
    with _without_pixel_limit():
        image = Image.open(file, formats=_FORMATS)
    with image:
        # The orientation may be behind the pixels, and turning does not change their number.
        _check_either(check_size, image.size)
        frames = getattr(image, "n_frames", 1)
        image.load()
        upright = ImageOps.exif_transpose(image)
        check_size(upright.size)
        picture = picture_of_image(upright, is_lossy=_is_lossy(image, head))
    note = f"the mask file has {frames} pictures; the first is read"
    return picture if frames == 1 else replace(picture, notes=(note, *picture.notes))


def _check_either(check_size: SizeCheck, size: tuple[int, int]) -> None:
    try:
        check_size(size[::-1])
    except MaskFileError:
        check_size(size)


def _is_lossy(image: Image.Image, head: bytes) -> bool:
    if image.format == "WEBP":
        return b"VP8L" not in head
    return image.format == "JPEG" or image.info.get("compression") == "jpeg"


def _read_npy(file: BinaryIO, check_size: SizeCheck) -> npt.NDArray[Any]:
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _order, kind = read_header(file)
    if len(shape) not in (2, 3) or kind.hasobject or (len(shape) == 3 and shape[2] > 4):
        raise MaskFileError(
            f"the mask is an array of {kind} {list(shape)}; allowed: object ids [height, width], or uint8 colors "
            "[height, width, 3 or 4]"
        )
    check_size((shape[1], shape[0]))
    file.seek(0)
    array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    return array


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    if not source.exists():
        raise MaskFileError(f"{name} does not exist")
    if not source.is_file():
        raise MaskFileError(f"{name} is not a file; a picture is expected: {_ALLOWED}")
    try:
        file = source.open("rb")
    except OSError as error:
        raise MaskFileError(f"{name} cannot be opened: {error.strerror}") from error
    with file:
        yield file


@contextmanager
def _plain_errors(name: str) -> Iterator[None]:
    """Turn errors of the decoders into `MaskFileError`, and name the mask in those of this package."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MaskSizeError as error:
        raise MaskSizeError(_named(error, name), error.width, error.height) from error
    except MaskFileError as error:
        raise type(error)(_named(error, name)) from error
    except UnidentifiedImageError as error:
        raise MaskFileError(f"{name} is not a picture that can be read; allowed: {_ALLOWED}") from error
    except MemoryError:
        raise
    except Exception as error:  # of a damaged file, decoders raise errors of many kinds
        raise MaskFileError(f"{name} is damaged: {error}") from error


def _named(error: MaskFileError, name: str) -> str:
    return str(error).replace("the mask", name, 1)


@contextmanager
def _without_pixel_limit() -> Iterator[None]:
    """Let Pillow open the header of a picture of any size; one thread at a time, because the limit is global."""
    with _pixel_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
