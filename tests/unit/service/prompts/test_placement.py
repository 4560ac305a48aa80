"""Masks in the sizes that players show, and where they lie in the video's pictures."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from service.errors import MaskSizeError
from service.prompts.placement import placements
from service.prompts.read_prompt import read_prompt
from tests.support.mask_pictures import discs, video_info

CLEAN = (16, 8, 128, 80)


def test_a_mask_of_the_clean_aperture_lies_inside_the_picture() -> None:
    """Outside of the clean aperture is background."""
    labels = discs(128, 80)
    read = read_prompt(labels, video_info(clean_aperture=CLEAN), 0)
    expected = np.zeros((96, 160), np.uint8)
    expected[8:88, 16:144] = labels
    assert np.array_equal(read.prompt.labels, expected)
    assert "the mask is 128x80 (clean aperture); it is placed in the video's 160x96 pixels" in read.notes[0]


@pytest.mark.parametrize(
    ("rotation", "mirrored", "corner"),
    [(0, False, (1, 2)), (90, False, (6, 1)), (180, False, (5, 6)), (270, False, (2, 5)), (0, True, (5, 2)),
     (90, True, (2, 1))],
)  # fmt: skip
def test_the_clean_aperture_turns_with_the_picture(rotation: int, mirrored: bool, corner: tuple[int, int]) -> None:
    """As `to_display` turns the pixels; the corner is worked out by hand."""
    info = video_info(10, 12, clean_aperture=(1, 2, 4, 4), rotation=rotation, mirrored=mirrored)
    picture = np.zeros((12, 10), np.uint8)
    picture[2:6, 1:5] = 1
    shown = np.argwhere(info.to_display(picture))
    assert info.display_clean_aperture == (*corner, 4, 4)
    assert tuple(shown.min(axis=0)[::-1]) == corner


@pytest.mark.parametrize(
    ("aspect", "rotation", "size"),
    [
        (Fraction(4, 3), 0, (213, 96)),  # 213.3 pixels wide
        (Fraction(4, 3), 0, (214, 96)),
        (Fraction(4, 3), 0, (160, 72)),
        (Fraction(1, 2), 0, (160, 192)),
        (Fraction(1, 2), 0, (80, 96)),
        (Fraction(2), 90, (96, 320)),
    ],
)
def test_a_mask_with_square_pixels_is_scaled_to_the_videos_pixels(
    aspect: Fraction, rotation: int, size: tuple[int, int]
) -> None:
    """The disc in the mask's middle is in the video's middle, with the same share of the picture."""
    labels = discs(*size, count=1, radius=20)
    info = video_info(sample_aspect_ratio=aspect, rotation=rotation)
    found = read_prompt(labels, info, 0).prompt.labels
    assert found.shape == (info.display_height, info.display_width)
    assert abs(found.mean() - labels.mean()) < 0.01
    rows, columns = np.nonzero(found)
    assert abs(rows.mean() - found.shape[0] / 2) <= 1
    assert abs(columns.mean() - found.shape[1] / 2) <= 1


def test_clean_aperture_and_pixel_aspect_go_together() -> None:
    """Players scale the clean aperture; a mask may also have its decoded size."""
    info = video_info(clean_aperture=CLEAN, sample_aspect_ratio=Fraction(3, 2))
    sizes = [(place.width, place.height) for place in placements(info)]
    assert sizes == [(160, 96), (128, 80), (192, 80), (128, 53), (240, 96), (160, 64)]
    assert read_prompt(discs(192, 80), info, 0).objects[0].bbox[1] >= 8


def test_all_sizes_are_named() -> None:
    """The error says which size is which."""
    info = video_info(clean_aperture=CLEAN, sample_aspect_ratio=Fraction(3, 2))
    message = (
        r"is 9x9; the video is 160x96 as decoded, 128x80 \(clean aperture\), 192x80 \(clean aperture, pixels 3:2\)"
    )
    with pytest.raises(MaskSizeError, match=message):
        read_prompt(np.ones((9, 9), np.uint8), info, 0)


def test_a_mask_that_was_not_turned_is_told_so() -> None:
    """Tools that ignore the container's rotation show the coded picture."""
    with pytest.raises(MaskSizeError, match="the coded picture is 160x96 and turned by 90 degrees"):
        read_prompt(discs(), video_info(rotation=90), 0)
