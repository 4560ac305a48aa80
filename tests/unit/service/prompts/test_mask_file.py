"""Reading prompt masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.types import UInt8Array
from service.errors import MaskFileError
from service.prompts.mask_file import read_mask
from tests.support.media import header_only, square, write_grey, write_mask

WIDTH, HEIGHT = 20, 12


def test_an_indexed_png_keeps_its_indices(tmp_path: Path) -> None:
    """Palette indices are object ids, regardless of the palette's colors."""
    labels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    picture = Image.frombytes("P", (WIDTH, HEIGHT), labels.tobytes())
    picture.putpalette([0] * 768)
    picture.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", WIDTH, HEIGHT), labels)


def test_an_indexed_png_of_few_bits_keeps_its_indices(tmp_path: Path) -> None:
    """A palette of two colors is stored with one bit per pixel, and read as 0 and 1."""
    picture = Image.frombytes("P", (WIDTH, HEIGHT), square(WIDTH, HEIGHT).tobytes())
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.save(tmp_path / "mask.png", bits=1)
    assert np.array_equal(read_mask(tmp_path / "mask.png", WIDTH, HEIGHT), square(WIDTH, HEIGHT))


def colors(*channels: int) -> Callable[[UInt8Array], UInt8Array]:
    """Makes a picture whose object has these channels and whose background is 0 in all of them."""
    return lambda mask: mask[..., None] * np.array(channels, np.uint8)


@pytest.mark.parametrize(
    "paint",
    [
        lambda mask: mask * 255,
        lambda mask: mask * 3,
        lambda mask: mask.astype(bool),
        lambda mask: mask.astype(np.uint16) * 256,
        colors(255, 255, 255),
        colors(0, 0, 1),
        colors(200, 255),
        colors(9, 0, 0, 255),
        lambda mask: np.concatenate([np.full((HEIGHT, WIDTH, 3), 77, np.uint8), mask[..., None] * 255], axis=2),
    ],
    ids=["grey 255", "grey 3", "1 bit", "16 bit", "white", "faint blue", "grey+alpha", "red+alpha", "alpha alone"],
)
def test_every_pixel_that_is_not_black_is_object_1(tmp_path: Path, paint: Callable[[UInt8Array], UInt8Array]) -> None:
    """In a picture without a palette, object 1 is where a pixel is neither black nor fully transparent."""
    write_grey(tmp_path / "mask.png", paint(square(WIDTH, HEIGHT)))
    assert np.array_equal(read_mask(tmp_path / "mask.png", WIDTH, HEIGHT), square(WIDTH, HEIGHT))


def test_both_sizes_are_named(tmp_path: Path) -> None:
    """A mask of another size is refused with both sizes in the message."""
    with pytest.raises(MaskFileError, match=r"is 20x12; the video is displayed at 12x20; both must be equal"):
        read_mask(write_mask(tmp_path / "mask.png", WIDTH, HEIGHT), HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [(60_000, 60_000, "far larger than the video"), (12_000, 9_000, "is 12000x9000"), (20, 12, "is damaged")],
    ids=["bomb", "large", "no pixels"],
)
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, width: int, height: int, message: str) -> None:
    """A picture that claims more pixels than the video is refused by its header alone."""
    (tmp_path / "mask.png").write_bytes(header_only(width, height))
    with pytest.raises(MaskFileError, match=message):
        read_mask(tmp_path / "mask.png", WIDTH, HEIGHT)
