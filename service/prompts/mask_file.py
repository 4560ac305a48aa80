"""Read the prompt mask of a run."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from codec.types import UInt8Array, VideoInfo
from service.errors import MaskFileError, MaskSizeError
from vos.types import Prompt


def read_prompt(mask: Path | UInt8Array, info: VideoInfo, index: int) -> Prompt:
    """Read the prompt of a video.

    Args:
        mask: PNG file, or labels uint8 [height, width]; in display size.
        info: The video.
        index: Presentation index of the prompt frame.

    Raises:
        MaskFileError: The file is missing, not a PNG, damaged, or of another size than the video.
        PromptError: The mask marks no object.
    """
    width, height = info.display_width, info.display_height
    if isinstance(mask, Path):
        return Prompt(read_mask(mask, width, height), index)
    prompt = Prompt(mask, index)
    _check_size("the mask", (mask.shape[1], mask.shape[0]), (width, height))
    return prompt


def read_mask(path: Path, width: int, height: int) -> UInt8Array:
    """Read labels uint8 [height, width] from a PNG; 0 is the background, other values are object ids.

    An indexed PNG keeps its palette indices. In a grey or RGB PNG every pixel that is neither black nor fully
    transparent belongs to object 1.

    Args:
        path: PNG file.
        width: Display width of the video in pixels.
        height: Display height of the video in pixels.

    Raises:
        MaskFileError: The file is missing, not a PNG, damaged, or of another size. The size is compared before the
            pixels are decoded, so a mask never takes more memory than a frame of the video.
    """
    if not path.exists():
        raise MaskFileError(f"the mask {path} does not exist")
    if not path.is_file():
        raise MaskFileError(f"the mask {path} is not a file; a PNG picture is expected")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=["PNG"]) as picture:
                _check_size(f"the mask {path}", picture.size, (width, height))
                return _labels(picture)
    except UnidentifiedImageError as error:
        raise MaskFileError(f"the mask {path} is not a PNG picture") from error
    except Image.DecompressionBombError as error:
        raise MaskFileError(f"the mask {path} is far larger than the video, which is {width}x{height}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise MaskFileError(f"the mask {path} is damaged: {error}") from error


def _check_size(name: str, given: tuple[int, int], wanted: tuple[int, int]) -> None:
    if given != wanted:
        raise MaskSizeError(
            f"{name} is {given[0]}x{given[1]}; the video is displayed at {wanted[0]}x{wanted[1]}; both must be equal"
        )


def _labels(picture: Image.Image) -> UInt8Array:
    if picture.mode == "P":
        return np.array(picture, dtype=np.uint8)
    pixels = np.array(picture)
    if pixels.ndim == 2:
        return np.asarray(pixels != 0, np.uint8)
    has_alpha = picture.mode in ("LA", "RGBA")
    colours = pixels[..., :-1] if has_alpha else pixels
    opaque = pixels[..., -1] > 0 if has_alpha else True
    return np.asarray(colours.any(axis=2) & opaque, np.uint8)
