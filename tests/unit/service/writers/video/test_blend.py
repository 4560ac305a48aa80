"""Drawing masks over a picture."""

from __future__ import annotations

import numpy as np
import pytest

from codec.types import UInt8Array
from service.writers.palette import overlay_palette
from service.writers.video.blend import blend, outline_colors

TINT = overlay_palette()
OUTLINE = outline_colors(TINT)


def drawn(picture: UInt8Array, labels: UInt8Array, **more: float) -> UInt8Array:
    """Draw over an RGB picture [h, w, 3]."""
    return np.moveaxis(blend(np.moveaxis(picture, -1, 0), labels, TINT, OUTLINE, **more), 0, -1)


@pytest.mark.parametrize("opacity", [0.0, 0.5, 0.8, 1.0])
def test_inside_is_a_mix_and_far_outside_is_untouched(opacity: float) -> None:
    """Pixels inside an object mix picture and color by the opacity; pixels far from it and the input do not change."""
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    before = picture.copy()
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 30:50] = 2
    after = drawn(picture, labels, opacity=opacity)
    mix = before[25:35, 35:45] * (1 - opacity) + np.array((86, 180, 233)) * opacity
    assert np.abs(after[25:35, 35:45] - mix).max() <= 0.51
    outside = np.ones((60, 80), bool)
    outside[18:42, 28:52] = False
    assert np.array_equal(after[outside], before[outside])
    assert np.array_equal(picture, before)


def test_the_border_is_light_in_the_object_s_hue() -> None:
    """The outline is the object's color with white, also where two objects touch."""
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 10:40], labels[20:40, 40:70] = 1, 2
    after = drawn(np.full((60, 80, 3), 20, np.uint8), labels)
    assert after[20, 20].tolist() == OUTLINE[1].tolist()
    assert after[39, 60].tolist() == OUTLINE[2].tolist()
    assert after[30, 40].tolist() in OUTLINE[1:3].tolist()


def test_an_outline_shows_on_its_own_color() -> None:
    """Even on a picture of the object's own color, each outline is at least 20 levels brighter in luma."""
    luma = np.array((0.2126, 0.7152, 0.0722))
    colored = [i for i in range(1, 9) if TINT[i].tolist() != [255, 255, 255]]
    assert ((OUTLINE[colored] - TINT[colored].astype(float)) @ luma).min() > 20


def test_samples_of_16_bits_are_drawn_alike() -> None:
    """A picture with 16 bits per sample gets the same mix, at 256 times the value."""
    picture = np.random.default_rng(1).integers(0, 256, (3, 30, 40), dtype=np.uint8)
    labels = np.zeros((30, 40), np.uint8)
    labels[8:20, 8:30] = 3
    deep = blend(picture.astype(np.uint16) * 256, labels, TINT.astype(np.uint16) * 256, OUTLINE.astype(np.uint16) * 256)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 256 - blend(picture, labels, TINT, OUTLINE)).max() <= 0.51


def test_no_object_leaves_the_picture() -> None:
    """A frame without objects is unchanged."""
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    assert np.array_equal(drawn(picture, np.zeros((6, 8), np.uint8)), picture)
