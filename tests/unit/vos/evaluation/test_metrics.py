"""J and F against hand-made cases, a slow matching by exact distances, and a published evaluation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt, zoom
from scipy.stats import spearmanr

from vos.evaluation.metrics import (
    BoolArray,
    Score,
    boundary,
    boundary_accuracy,
    counted_frames,
    mean_by_object,
    rank_correlation,
    region_similarity,
    score_objects,
)

EMPTY = np.zeros((100, 100), np.bool_)
LEFT = np.broadcast_to(np.arange(100) < 30, (100, 100)).copy()
"""The left 30 columns of 100; its boundary is column 29. The tolerance is ceil(0.008 * 141.4) = 2 pixels."""


def square(top: int, left: int, side: int) -> BoolArray:
    """A square object in an empty picture."""
    mask = EMPTY.copy()
    mask[top : top + side, left : left + side] = True
    return mask


def blobs(rng: np.random.Generator, height: int, width: int) -> BoolArray:
    """A coarse random mask, enlarged."""
    coarse = (rng.random((5, 6)) > rng.random()).astype(np.uint8)
    return zoom(coarse, (height / 5, width / 6), order=0).astype(np.bool_)


def slow_boundary(mask: BoolArray) -> list[tuple[int, int]]:
    """The boundary rule, pixel by pixel."""
    height, width = mask.shape
    pixels = []
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if any(mask[v, u] != mask[y, x] for v, u in neighbours if v < height and u < width):
                pixels.append((y, x))
    return pixels


def slow_f(prediction: BoolArray, truth: BoolArray) -> float:
    """F from the exact Euclidean distance of every boundary pixel to the other boundary."""

    def share(pixels: list[tuple[int, int]], targets: list[tuple[int, int]]) -> float:
        far = np.ones(truth.shape)
        far[tuple(zip(*targets, strict=True))] = 0
        distance = distance_transform_edt(far)
        limit = math.ceil(0.008 * math.hypot(*truth.shape))
        return sum(distance[pixel] <= limit for pixel in pixels) / len(pixels)

    predicted, true = slow_boundary(prediction), slow_boundary(truth)
    if not predicted or not true:
        return float(not predicted and not true)
    precision, recall = share(predicted, true), share(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (square(10, 10, 4), square(12, 10, 4), 8 / 24),
        (square(10, 10, 4), square(50, 50, 4), 0),
        (square(10, 10, 10), square(10, 10, 20), 100 / 400),
        (EMPTY, square(0, 0, 5), 0),
        (square(0, 0, 5), EMPTY, 0),
        (EMPTY, EMPTY, 1),
        (~EMPTY, LEFT, 0.3),
    ],
)
def test_j_is_intersection_over_union(prediction: BoolArray, truth: BoolArray, expected: float) -> None:
    """J is intersection over union, and 1 if both masks are empty."""
    assert region_similarity(prediction, truth) == pytest.approx(expected)


def test_boundary_lies_on_the_upper_left_of_a_change() -> None:
    """One pixel gives four boundary pixels inside the picture, three in its lower right corner."""
    mask = np.zeros((5, 5), np.bool_)
    mask[2, 2] = True
    assert list(zip(*np.nonzero(boundary(mask)), strict=True)) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    corner = np.zeros((5, 5), np.bool_)
    corner[4, 4] = True
    assert list(zip(*np.nonzero(boundary(corner)), strict=True)) == [(3, 3), (3, 4), (4, 3)]


def test_edge_of_the_picture_is_no_boundary() -> None:
    """A mask that fills the picture has no boundary; a mask that touches an edge has none along it."""
    assert not boundary(~EMPTY).any()
    assert np.flatnonzero(boundary(LEFT).any(axis=0)).tolist() == [29]


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        (LEFT, LEFT, 1),
        (np.roll(LEFT, 2, axis=1) | LEFT, LEFT, 1),
        (np.roll(LEFT, 3, axis=1) | LEFT, LEFT, 0),
        (LEFT | (np.arange(100) >= 80), LEFT, 2 * 0.5 / 1.5),
        (LEFT, LEFT | (np.arange(100) >= 80), 2 * 0.5 / 1.5),
        (EMPTY, LEFT, 0),
        (LEFT, EMPTY, 0),
        (EMPTY, EMPTY, 1),
        (~EMPTY, EMPTY, 1),
    ],
)
def test_f_is_harmonic_mean_of_matched_boundary_shares(
    prediction: BoolArray, truth: BoolArray, expected: float
) -> None:
    """At 100x100 a boundary 2 pixels off matches, 3 pixels off not; two empty boundaries give 1, a single one 0."""
    assert boundary_accuracy(prediction, truth) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(40))
def test_f_equals_a_slow_matching(seed: int) -> None:
    """F equals the result of exact distances between all boundary pixels, at any size."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 200, 2)
    prediction, truth = blobs(rng, height, width), blobs(rng, height, width)
    assert boundary_accuracy(prediction, truth) == pytest.approx(slow_f(prediction, truth))


def test_objects_are_scored_separately() -> None:
    """Each object counts against everything else; an object that is absent from both masks scores 1."""
    truth = (square(10, 10, 10) + 2 * square(50, 50, 10)).astype(np.uint8)
    prediction = (square(10, 10, 10) + 2 * square(70, 10, 10)).astype(np.uint8)
    scores = score_objects(prediction, truth, [1, 2, 3])
    assert scores == {1: Score(1, 1), 2: Score(0, 0), 3: Score(1, 1)}


def test_sizes_must_agree() -> None:
    """Masks of two sizes are refused, with both sizes in the message."""
    with pytest.raises(ValueError, match=r"\[4, 6\] pixels, the annotation \[4, 5\]"):
        score_objects(np.zeros((4, 6), np.uint8), np.zeros((4, 5), np.uint8), [1])


def test_first_and_last_frame_do_not_count() -> None:
    """Annotated frames count, except for the first and the last frame of the sequence."""
    assert counted_frames([4, 0, 2, 3], 5) == [2, 3]
    assert counted_frames(range(2), 2) == []


def test_means_are_over_frames_then_objects() -> None:
    """Frames are averaged per object first, so that all objects have the same weight."""
    frames = [{1: Score(1, 0.5), 2: Score(0, 0)}, {1: Score(0.5, 0.5)}, {1: Score(0, 0.2)}]
    by_object = mean_by_object(frames)
    assert by_object[1] == Score(0.5, pytest.approx(0.4))
    assert Score.mean(by_object.values()).jf == pytest.approx((0.25 + 0.2) / 2)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("davis480/Annotations/480p/soccerball", {255: (17.7728, 13.0209)}),
        ("davis480/Annotations/480p/bmx-bumps", {255: (17.6478, 35.3116)}),
        ("multi/schoolgirls/masks", {1: (35.0099, 46.2172), 4: (15.2692, 53.6745), 7: (46.0120, 78.8519)}),
        ("multi/tabletop/masks", {3: (18.8639, 11.6650), 5: (20.6799, 14.6147), 8: (29.3710, 32.4944)}),
    ],
)
def test_scores_are_those_of_the_published_evaluation(
    shared_dir: Path, folder: str, expected: dict[int, tuple[float, float]]
) -> None:
    """A mask copied from 5 frames earlier gets the scores of the package vos-benchmark 0.1.0, in percent."""
    files = sorted((shared_dir / "data" / "dev" / folder).glob("*.png"))
    masks = [np.asarray(Image.open(file)) for file in files]
    counted = counted_frames(range(len(masks)), len(masks))
    mean = mean_by_object(score_objects(masks[max(0, i - 5)], masks[i], expected) for i in counted)
    for object_id, (j, f) in expected.items():
        assert (100 * mean[object_id].j, 100 * mean[object_id].f) == pytest.approx((j, f), abs=1e-3)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [10, 20, 900], 1),
        ([1, 2, 3], [0.3, 0.2, 0.1], -1),
        ([1, 2, 3, 4], [1, 2, 4, 3], 1 - 6 * 2 / (4 * 15)),
        # Ranks 1.5, 1.5, 3 and 1, 2, 3: deviations (-.5, -.5, 1) and (-1, 0, 1).
        ([5, 5, 8], [1, 2, 3], 1.5 / math.sqrt(1.5 * 2)),
        ([1, 2, 3, 4], [2, 1, 1, 2], 0),
    ],
)
def test_rank_correlation_of_hand_made_pairs(first: list[float], second: list[float], expected: float) -> None:
    """Without ties the correlation is 1 - 6 * sum(d^2) / (n * (n^2 - 1)); ties share their mean rank."""
    assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("values", [1000, 5])
def test_rank_correlation_is_that_of_scipy(values: int) -> None:
    """Random pairs with few or many ties give the correlation of SciPy."""
    rng = np.random.default_rng(values)
    first = rng.integers(0, values, 200)
    second = first + rng.integers(0, values, 200)
    assert rank_correlation(first.tolist(), second.tolist()) == pytest.approx(spearmanr(first, second).statistic)


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [2.0]), ([1.0, 1.0], [1.0, 2.0])])
def test_rank_correlation_is_undefined_without_order(first: list[float], second: list[float]) -> None:
    """Without order on one side the correlation is None, not 0."""
    assert rank_correlation(first, second) is None


def test_rank_correlation_takes_pairs() -> None:
    """Values without a partner are refused."""
    with pytest.raises(ValueError, match="2 values were given for 1 values"):
        rank_correlation([1, 2], [1])
