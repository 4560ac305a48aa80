"""Wrong masks as a base network makes them: related to the truth, wrong in every way that is wanted."""

import cv2
import numpy as np
import pytest

from vos.training.mistakes import corrupt_labels, corrupt_soft

SEEDS = range(200)


def two_objects(size: int = 128) -> np.ndarray:
    """Labels of a body with a thin leg (1) and a square beside it (2)."""
    labels = np.zeros((size, size + 32), np.uint8)
    cv2.circle(labels, (45, 45), 24, 1, thickness=-1)
    cv2.line(labels, (45, 60), (45, 110), 1, thickness=3)
    labels[40:90, 72:120] = 2
    return labels


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two bool masks."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def test_most_masks_stay_near_the_truth_and_most_are_wrong() -> None:
    """The overlap with the truth is high in the median, seldom whole, sometimes poor, sometimes nothing."""
    truth = two_objects()
    wrong = [corrupt_labels(np.random.default_rng(seed), truth, share=1.0) for seed in SEEDS]
    overlaps = np.array([overlap(labels == k, truth == k) for labels in wrong for k in (1, 2)])
    assert 0.8 < np.median(overlaps) < 0.98
    assert (overlaps == 1).mean() < 0.25
    assert (overlaps < 0.6).mean() > 0.03
    assert 0.005 < (overlaps == 0).mean() < 0.12


def test_parts_are_lost_and_surroundings_taken_in() -> None:
    """Both kinds of mistake occur often: pixels inside that are missed, pixels well outside that are claimed."""
    truth = two_objects()
    core = cv2.erode((truth == 1).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    outside = cv2.dilate((truth == 1).astype(np.uint8), np.ones((13, 13), np.uint8)) == 0
    wrong = [corrupt_labels(np.random.default_rng(seed), truth, share=1.0) == 1 for seed in SEEDS]
    assert 0.15 < np.mean([(~mask & core).any() for mask in wrong]) < 0.6
    assert 0.1 < np.mean([(mask & outside).any() for mask in wrong]) < 0.5


def test_thin_parts_are_lost_more_often_than_the_body() -> None:
    """A thin leg is missed more often than an equal area of the body, and objects take parts of one another."""
    truth = two_objects()
    wrong = [corrupt_labels(np.random.default_rng(seed), truth, share=1.0) for seed in SEEDS]
    leg, body = np.s_[75:100, 44:47], np.s_[35:60, 44:47]
    lost = [np.mean([(labels[part] != 1).mean() for labels in wrong]) for part in (leg, body)]
    assert lost[0] > 1.2 * lost[1]
    assert np.mean([((truth == 2) & (labels == 1)).any() for labels in wrong]) > 0.02


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_soft_masks_stay_masks(dtype: type) -> None:
    """Type and shape are kept, the input too; values stay in range and objects never add up to more than the whole."""
    whole = 255 if dtype == np.uint8 else 1
    truth = np.stack([two_objects() == k for k in (1, 2)]).astype(dtype) * dtype(whole)
    for seed in range(30):
        given = truth.copy()
        wrong = corrupt_soft(np.random.default_rng(seed), given, share=1.0)
        assert (given == truth).all()
        assert wrong.dtype == dtype
        assert wrong.shape == truth.shape
        assert wrong.min() >= 0
        # Each of two values is rounded by up to a half.
        assert wrong.astype(np.float64).sum(axis=0).max() <= whole + (1 if dtype == np.uint8 else 1e-5)


def test_mistakes_follow_colours_where_there_is_a_picture() -> None:
    """With a picture, leaks keep to the colour where they begin more often than without."""
    truth = np.zeros((96, 96), np.uint8)
    truth[30:66, 20:50] = 1
    image = np.full((96, 96, 3), 30, np.uint8)
    image[:, 50:] = 220
    image[30:66, 20:50] = 40
    spilled = []
    for picture in (image, None):
        masks = [corrupt_labels(np.random.default_rng(seed), truth, picture, share=1.0) for seed in range(800)]
        spilled.append(sum((mask[:, 54:] == 1).sum() for mask in masks))
    assert spilled[0] < 0.7 * spilled[1]


def test_absent_objects_stay_absent_and_share_is_kept() -> None:
    """An empty mask gets no leak, no mask is touched at share 0, and one seed gives one result."""
    truth = two_objects()
    assert not corrupt_labels(np.random.default_rng(0), np.zeros_like(truth)).any()
    empty = np.zeros((2, 64, 64), np.float32)
    empty[0, 20:40, 20:40] = 1
    for seed in range(20):
        assert not corrupt_soft(np.random.default_rng(seed), empty)[1].any()
        assert (corrupt_labels(np.random.default_rng(seed), truth, share=0.0) == truth).all()
        one, again = (corrupt_labels(np.random.default_rng(seed), truth) for _ in range(2))
        assert (one == again).all()
