"""J and F of the DAVIS evaluation (pure functions).

Sources: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
section 4, for both measures; Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation",
arXiv 1704.00675, section 4, for several objects. Where the papers leave a choice, the code follows the
benchmark's public evaluation: the boundary rule, the tolerance of ceil(0.008 * diagonal) pixels, empty masks, the
frames that count. Spearman, "The Proof and Measurement of Association between Two Things", 1904, for the rank
correlation of scores with masks.

Masks are bool [height, width] of one size. Values are shares, 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from codec.types import UInt8Array

BoolArray = npt.NDArray[np.bool_]

TOLERANCE = 0.008
"""Largest distance of matching boundary pixels, as a share of the picture's diagonal."""


@dataclass(frozen=True, slots=True)
class Score:
    """Region similarity J and boundary accuracy F."""

    j: float
    f: float

    @property
    def jf(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2

    @classmethod
    def mean(cls, scores: Iterable[Score]) -> Score:
        """Mean J and mean F of at least one score."""
        pairs = np.array([(score.j, score.f) for score in scores])
        if not len(pairs):
            raise ValueError("no score given; a mean needs at least one")
        j, f = pairs.mean(axis=0)
        return cls(float(j), float(f))


def region_similarity(prediction: BoolArray, truth: BoolArray) -> float:
    """J: intersection over union; 1 if both masks are empty."""
    union = np.count_nonzero(prediction | truth)
    return np.count_nonzero(prediction & truth) / union if union else 1.0


def boundary_accuracy(prediction: BoolArray, truth: BoolArray, tolerance: float = TOLERANCE) -> float:
    """F: harmonic mean of the precision and recall of boundary pixels.

    A boundary pixel matches if the other mask has a boundary pixel within the tolerance (Euclidean), a share of the
    picture's diagonal. F is 1 if neither mask has a boundary, 0 if only one has.
    """
    boundaries = boundary(prediction), boundary(truth)
    if not (boundaries[0].any() and boundaries[1].any()):
        return float(boundaries[0].any() == boundaries[1].any())
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    window = _window(boundaries[0] | boundaries[1], radius)
    predicted, true = boundaries[0][window], boundaries[1][window]
    precision = np.count_nonzero(predicted & _dilate(true, radius)) / np.count_nonzero(predicted)
    recall = np.count_nonzero(true & _dilate(predicted, radius)) / np.count_nonzero(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask: BoolArray) -> BoolArray:
    """Pixels that differ from their right, lower or lower right neighbour; the picture's edge is no boundary.

    A boundary is therefore one pixel wide and lies on the upper left side of every change.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return np.asarray((mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:]))


def score_objects(prediction: UInt8Array, truth: UInt8Array, ids: Iterable[int]) -> dict[int, Score]:
    """Score one frame, each object against everything else.

    Args:
        prediction: Labels uint8 [height, width]: 0 background, other values object ids.
        truth: Annotated labels of the same shape.
        ids: Objects to score.

    Raises:
        ValueError: The sizes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction is {list(prediction.shape)} pixels, the annotation {list(truth.shape)}")
    scores = {}
    for object_id in ids:
        predicted, true = prediction == object_id, truth == object_id
        scores[object_id] = Score(region_similarity(predicted, true), boundary_accuracy(predicted, true))
    return scores


def counted_frames(annotated: Iterable[int], frames: int) -> list[int]:
    """Indices that count in the semi-supervised setting: annotated frames but the first and the last."""
    return sorted(index for index in annotated if 0 < index < frames - 1)


def mean_by_object(frames: Iterable[Mapping[int, Score]]) -> dict[int, Score]:
    """Scores per frame -> mean score per object."""
    by_object: dict[int, list[Score]] = {}
    for frame in frames:
        for object_id, score in frame.items():
            by_object.setdefault(object_id, []).append(score)
    return {object_id: Score.mean(scores) for object_id, scores in by_object.items()}


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation of paired values, -1 to 1; tied values share their mean rank.

    None where it is undefined: fewer than two pairs, or a side of equal values.

    Raises:
        ValueError: The numbers of values differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values were given for {len(second)} values; they must come in pairs")
    ranks = np.array([_mean_ranks(first), _mean_ranks(second)])
    deviations = ranks - (len(first) + 1) / 2
    scale = math.sqrt(math.prod((deviations**2).sum(axis=1)))
    return float((deviations[0] * deviations[1]).sum() / scale) if scale else None


def _mean_ranks(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Rank of each value, from 1; equal values share their mean rank."""
    _, place, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], np.float64)


def _window(mask: BoolArray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of a mask's bounding box, with a margin; the mask must not be empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )


def _dilate(mask: BoolArray, radius: int) -> BoolArray:
    """All pixels within `radius` pixels (Euclidean) of the mask."""
    offsets = np.arange(-radius, radius + 1) ** 2
    disk = (offsets[:, None] + offsets[None, :] <= radius**2).astype(np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disk) > 0)
