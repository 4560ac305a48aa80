"""Drawing masks over a picture."""

from __future__ import annotations

import numpy as np

from service.writers.blend import blend


def test_inside_is_the_mean_and_far_outside_is_untouched() -> None:
    """Pixels inside an object are the mean of picture and color; pixels far from it and the input do not change."""
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    before = picture.copy()
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 30:50] = 2
    drawn = blend(picture, labels)
    mean = before[25:35, 35:45] / 2 + np.array((0, 64, 0))
    assert np.abs(drawn[25:35, 35:45] - mean).max() <= 0.5
    outside = np.ones((60, 80), bool)
    outside[18:42, 28:52] = False
    assert np.array_equal(drawn[outside], before[outside])
    assert np.array_equal(picture, before)


def test_the_border_is_the_object_s_own_color() -> None:
    """On an object's border the color is pure, also where two objects touch."""
    labels = np.zeros((60, 80), np.uint8)
    labels[20:40, 10:40], labels[20:40, 40:70] = 1, 2
    drawn = blend(np.full((60, 80, 3), 200, np.uint8), labels)
    assert drawn[20, 20].tolist() == [128, 0, 0]
    assert drawn[39, 60].tolist() == [0, 128, 0]
    assert drawn[30, 40].tolist() in ([128, 0, 0], [0, 128, 0])


def test_no_object_leaves_the_picture() -> None:
    """A frame without objects is unchanged."""
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    assert np.array_equal(blend(picture, np.zeros((6, 8), np.uint8)), picture)
