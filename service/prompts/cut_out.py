"""Cut an object out of one picture, from a box around it or from points on it, without a network.

Each pixel gets a probability from two sources: where it lies (objects fill the middle of their box and rarely its
corners) and which color it has (histograms of the object and of its surroundings, estimated in turns with the
probabilities as in GrabCut, Rother et al., SIGGRAPH 2004). After each turn, a guided filter with the picture as guide
(He et al., "Guided Image Filtering", TPAMI 2013) smooths the probabilities without blurring them across edges. The
turns run on a small copy of the box and its surroundings; the last filter is applied to the full picture (He & Sun,
"Fast Guided Filter", 2015). Nothing is random.

docs/howto/first-mask.md compares it with GrabCut and with simpler shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from codec.types import Float32Array, UInt8Array

BoolArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[Any]
IntArray: TypeAlias = npt.NDArray[np.int64]
Box: TypeAlias = tuple[float, float, float, float]
"""x, y, width, height in pixels."""
Point: TypeAlias = tuple[float, float, int]
"""x, y in pixels; 1 on the object, 0 beside it."""

_TURNS = 4
_WORK_SIDE = 160
"""Longest side in pixels of the small copy."""
_LEAST_SIDE = 24
"""Shortest side of the small copy, if the window has as many pixels."""
_MARGIN = 0.3
"""Surroundings on each side of a box, as a share of its size."""
_SLACK = 1.05
"""Half size of the region where the object may lie, in half sizes of the box: boxes are drawn a little too small."""
_PRIOR_RADIUS, _PRIOR_SLOPE = 0.88, 4.0
"""Where the location prior is even, in radii of the ellipse in the box, and its slope in logits per radius."""
_POINT_RADIUS = 0.12
"""Radius around points in place of a box's, as a share of the picture's shorter side."""
_POINT_REACH = 0.12
"""How far a point speaks for its neighbors (standard deviation), as a share of the region's shorter side."""
_CERTAIN = 12.0
"""Logit that a point adds where it lies."""
_POINT_WEIGHT = 20.0
"""How often the color at a point counts more than elsewhere."""
_BINS = 24
"""Bins of a color histogram along each axis of the CIELAB space."""
_RARE = 2e-4
"""Share of pixels below which a color says little."""
_FILTER_RADIUS, _FILTER_EPSILON = 4, 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class CutOut:
    """Where an object probably is.

    Attributes:
        left, top: Position of the window in the picture.
        probability: float32 [height, width] of the window, 0 to 1. Outside the window it is 0.
        color_overlap: How alike the colors of the object and its surroundings are: 0 if they share none, 1 if they are
            the same. Where they share many, the outline is less certain.
    """

    left: int
    top: int
    probability: Float32Array
    color_overlap: float


def cut_out(picture: UInt8Array, box: Box | None, points: tuple[Point, ...] = ()) -> CutOut:
    """Return where the object in a box, or at points, probably is.

    Args:
        picture: RGB uint8 [height, width, 3].
        box: Box around the object, at least partly in the picture; None if points alone mark it.
        points: Points on the object and beside it; without a box, at least one is on the object.
    """
    height, width = picture.shape[:2]
    region = box or _region_of(points, min(height, width))
    left, top, right, bottom = _window(region, width, height)
    view = picture[top:bottom, left:right]
    size = _work_size(right - left, bottom - top)
    small = np.asarray(cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8)
    scale = np.array((size[0] / (right - left), size[1] / (bottom - top)))
    x, y = np.meshgrid((np.arange(size[0]) + 0.5) / scale[0] + left, (np.arange(size[1]) + 0.5) / scale[1] + top)
    possible, prior = _from_box(x, y, box) if box else _from_points(x, y, points, min(height, width))
    near = _near_points(x, y, points, _POINT_REACH * min(region[2:]))
    slope, offset, overlap = _segment(small, possible, prior + _CERTAIN * near, 1 + _POINT_WEIGHT * abs(near))
    return CutOut(left, top, _enlarged(view, slope, offset, _may_be(possible, view.shape[:2])), overlap)


def _region_of(points: tuple[Point, ...], side: int) -> Box:
    on_object = np.array([point[:2] for point in points if point[2]])
    radius = _POINT_RADIUS * side
    low, high = on_object.min(axis=0) - radius, on_object.max(axis=0) + radius
    return low[0], low[1], high[0] - low[0], high[1] - low[1]


def _window(region: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of a region with its surroundings, inside the picture."""
    x, y, w, h = region
    across, down = max(4, _MARGIN * w), max(4, _MARGIN * h)
    left, top = max(0, int(x - across)), max(0, int(y - down))
    return left, top, min(width, int(np.ceil(x + w + across))), min(height, int(np.ceil(y + h + down)))


def _work_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height of the small copy; a narrow window keeps some pixels across."""
    scale = min(1.0, _WORK_SIDE / max(width, height))
    least = min(width, _LEAST_SIDE), min(height, _LEAST_SIDE)
    return max(least[0], round(width * scale)), max(least[1], round(height * scale))


def _from_box(x: FloatArray, y: FloatArray, box: Box) -> tuple[BoolArray, FloatArray]:
    """Return where the object may lie, and the logit of the location prior."""
    u = (x - box[0]) / box[2] * 2 - 1
    v = (y - box[1]) / box[3] * 2 - 1
    possible = np.maximum(abs(u), abs(v)) <= _SLACK
    return possible, _PRIOR_SLOPE * (_PRIOR_RADIUS - np.hypot(u, v))


def _from_points(x: FloatArray, y: FloatArray, points: tuple[Point, ...], side: int) -> tuple[BoolArray, FloatArray]:
    distance = np.min([np.hypot(x - px, y - py) for px, py, on_object in points if on_object], axis=0)
    radii = distance / (_POINT_RADIUS * side)
    return np.asarray(radii <= 2), _PRIOR_SLOPE / 2 * (_PRIOR_RADIUS - radii)


def _near_points(x: FloatArray, y: FloatArray, points: tuple[Point, ...], reach: float) -> FloatArray:
    """Return how much a point says about each place: 1 on a point on the object, -1 on one beside it, 0 far away."""
    near = np.zeros(x.shape)
    for px, py, on_object in points:
        effect = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * reach**2))
        near = near + (effect if on_object else -effect)
    return np.asarray(np.clip(near, -1, 1))


def _segment(
    small: UInt8Array, possible: BoolArray, prior: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Estimate colors and probabilities in turns.

    Args:
        small: RGB uint8 [h, w, 3].
        possible: Where the object may lie, [h, w].
        prior: Logit of the location prior, [h, w].
        weight: How often each pixel counts in the colors, [h, w].

    Returns:
        The last guided filter, [h, w, 3] and [h, w]: the probability is the product with the color (0 to 1), summed
        over the channels, plus the offset. Then the overlap of the colors, as in `CutOut`.
    """
    guide = _Guide(small)
    bins = _color_bins(small)
    probability = possible / (1 + np.exp(-prior))
    for _ in range(_TURNS):
        inside, outside = _color_shares(bins, weight * probability, weight * (1 - probability))
        logit = prior + np.log((inside + _RARE) / (outside + _RARE))[bins]
        slope, offset = guide.fit((possible / (1 + np.exp(-logit))).astype(np.float32))
        probability = possible * np.clip((slope * guide.colors).sum(axis=2) + offset, 0, 1)
    return slope, offset, float(np.minimum(inside, outside).sum())


def _color_bins(small: UInt8Array) -> IntArray:
    """Return the histogram bin of each pixel, [h, w]. The chroma axes cover the middle half of their range only."""
    lab = cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2LAB).astype(np.int64)
    lab[..., 1:] = np.clip(2 * lab[..., 1:] - 128, 0, 255)
    lightness, a, b = np.moveaxis(lab * _BINS // 256, 2, 0)
    return np.asarray((lightness * _BINS + a) * _BINS + b)


def _color_shares(bins: IntArray, inside: FloatArray, outside: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the color histograms of the object and of what is beside it, given their weights; each sums to 1."""
    counts = [np.bincount(bins.ravel(), weights.ravel(), _BINS**3) for weights in (inside, outside)]
    return counts[0] / max(counts[0].sum(), 1e-9), counts[1] / max(counts[1].sum(), 1e-9)


class _Guide:
    """Guided filter with a color picture [h, w, 3] as guide."""

    def __init__(self, small: UInt8Array) -> None:
        self.colors = small.astype(np.float32) / 255
        self._mean = _blurred(self.colors)
        products = self.colors[..., :, None] * self.colors[..., None, :]
        covariance = _blurred(products.reshape(*small.shape[:2], 9)).reshape(products.shape)
        covariance -= self._mean[..., :, None] * self._mean[..., None, :]
        self._inverse = np.linalg.inv(covariance + _FILTER_EPSILON * np.eye(3, dtype=np.float32))

    def fit(self, values: Float32Array) -> tuple[FloatArray, FloatArray]:
        """Return slope [h, w, 3] and offset [h, w] of the linear map from color to values [h, w] near each pixel."""
        mean = _blurred(values)
        covariance = _blurred(self.colors * values[..., None]) - self._mean * mean[..., None]
        slope = (self._inverse @ covariance[..., None])[..., 0]
        offset = mean - (slope * self._mean).sum(axis=2)
        return _blurred(slope), _blurred(offset)


def _blurred(values: FloatArray) -> FloatArray:
    """Mean over a square around each pixel; [h, w, n] channel by channel."""
    side = 2 * _FILTER_RADIUS + 1
    if values.ndim == 2:
        return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)
    return np.stack([_blurred(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, 2, 0)], axis=2)


def _may_be(possible: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    enlarged = cv2.resize(possible.astype(np.uint8), shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(enlarged > 0)


def _enlarged(view: UInt8Array, slope: FloatArray, offset: FloatArray, possible: BoolArray) -> Float32Array:
    """Apply the filter to the full picture, channel by channel, since its floats take much more memory than it does."""
    probability = _resized(offset, view)
    for channel in range(3):
        probability += _resized(slope[..., channel], view) * view[..., channel] / np.float32(255)
    return np.asarray(np.clip(probability, 0, 1) * possible, np.float32)


def _resized(plane: FloatArray, view: UInt8Array) -> Float32Array:
    size = (view.shape[1], view.shape[0])
    return np.asarray(cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_LINEAR), np.float32)
