"""Edges at the video's own resolution: a slow loop as the oracle, and what refinement must and must not do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codec.types import STRIDE, Float32Array, PicturePlanes, UInt8Array, VideoInfo
from tests.support.frames import info
from vos.masks.edges import refined_labels
from vos.masks.geometry import soft_to_labels

RIDGE, MARGIN = 0.004, 0.3
WEIGHTS = np.array((1, 2, 2)) / 255


def sized(width: int, height: int, scale: float = 1.0, rotation: int = 0) -> VideoInfo:
    """Describe a video of this coded size that is analyzed at `1 / scale` of it."""
    return replace(
        info(width, height),
        analysis_width=round(width / scale),
        analysis_height=round(height / scale),
        rotation=rotation,
    )


def gray(y: UInt8Array) -> PicturePlanes:
    """Return a picture without colour."""
    chroma = np.full((-(-y.shape[0] // 2), -(-y.shape[1] // 2)), 128, np.uint8)
    return PicturePlanes(y, chroma, chroma)


def shrunk(plane: UInt8Array, factor: int) -> UInt8Array:
    """Return the means of squares of a plane whose size is a multiple of `factor`."""
    height, width = plane.shape
    return np.rint(plane.reshape(height // factor, factor, width // factor, factor).mean((1, 3))).astype(np.uint8)


def iou(first: UInt8Array, second: UInt8Array) -> float:
    """Return the intersection over union of label 1."""
    return float(((first == 1) & (second == 1)).sum() / ((first == 1) | (second == 1)).sum())


def slow(soft: Float32Array, colours: Float32Array, planes: PicturePlanes, ids: tuple[int, ...]) -> UInt8Array:
    """Return what `refined_labels` should, pixel by pixel, at analysis size.

    Pixels that no change of `MARGIN` can decide are left to interpolation, which agrees with them.
    """
    objects, rows, columns = soft.shape
    gains = np.zeros((objects, rows, columns, 3))
    for k in range(objects):
        for row in range(rows):
            for column in range(columns):
                part = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
                x, share = colours[part].reshape(-1, 3), soft[k][part].ravel()
                if np.ptp(share) > 0.02:
                    x, share = x - x.mean(0), share - share.mean()
                    gains[k, row, column] = np.linalg.solve(x.T @ x / len(x) + RIDGE * np.eye(3), x.T @ share / len(x))
    height, width = planes.y.shape
    labels = np.zeros((height, width), np.uint8)
    for py in range(height):
        for px in range(width):
            cy, cx = (py + 0.5) / STRIDE - 0.5, (px + 0.5) / STRIDE - 0.5
            weights = np.outer(
                np.maximum(0, 1 - abs(np.arange(rows) - np.clip(cy, 0, rows - 1))),
                np.maximum(0, 1 - abs(np.arange(columns) - np.clip(cx, 0, columns - 1))),
            )
            sample = np.array([planes.y[py, px], planes.u[py // 2, px // 2], planes.v[py // 2, px // 2]]) * WEIGHTS
            difference = sample - np.einsum("rc,rci->i", weights, colours)
            change = np.clip([difference @ np.einsum("rc,rci->i", weights, g) for g in gains], -MARGIN, MARGIN)
            shares = np.einsum("rc,krc->k", weights, soft) + change
            best = int(shares.argmax())
            if shares[best] > 1 - shares.sum():
                labels[py, px] = ids[best]
    return labels


@pytest.mark.parametrize("seed", range(6))
def test_labels_equal_those_of_a_slow_loop(seed: int) -> None:
    """Two objects with soft edges on a random picture of colour blobs."""
    rng = np.random.default_rng(seed)
    rows, columns = 8, 10
    soft = rng.random((2, rows, columns), np.float32)
    soft = (soft / soft.sum(0) * rng.random((rows, columns), np.float32)).astype(np.float32)
    planes = PicturePlanes(
        rng.integers(0, 256, (rows * 4, columns * 4), np.uint8),
        *(rng.integers(0, 256, (rows * 2, columns * 2), np.uint8) for _ in range(2)),
    )
    means = [shrunk(planes.y, 4), shrunk(planes.u, 2), shrunk(planes.v, 2)]
    colours = (np.stack(means, axis=2) * WEIGHTS).astype(np.float32)
    found = refined_labels(soft, planes.y, planes, (3, 9), sized(columns * 4, rows * 4))
    expected = slow(soft, colours, planes, (3, 9))
    assert (found != expected).mean() < 0.01  # float32 against float64, and means that round the other way
    assert len(np.unique(expected)) == 3


def disc(side: int, radius: float) -> UInt8Array:
    """Return labels uint8 [side, side] with a disc in the middle."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return (y * y + x * x < radius * radius).astype(np.uint8)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_blurred_mask_of_a_visible_disc_becomes_the_disc(scale: int) -> None:
    """On a video of 192 x 192 that is analyzed at a fraction, edges are right to a pixel."""
    truth = disc(192, 50)
    y = np.where(truth, 180, 60).astype(np.uint8)
    # The share of each cell and its neighbours: blurrier than the cells need be.
    cells = truth.reshape(48 // scale, 4 * scale, 48 // scale, 4 * scale).mean((1, 3))
    padded = np.pad(cells, 1, mode="edge")
    soft = (sum(np.roll(padded, s, a) for s in (-1, 1) for a in (0, 1)) / 8 + padded / 2)[1:-1, 1:-1]
    soft = soft[None].astype(np.float32)
    video = sized(192, 192, scale)
    raw = soft_to_labels(soft, STRIDE, (1,), video)
    refined = refined_labels(soft, shrunk(y, scale), gray(y), (1,), video)
    assert iou(refined, truth) > iou(raw, truth)
    assert iou(refined, truth) > 0.985


def test_colour_alone_shows_an_edge() -> None:
    """A disc as bright as its surroundings, but of another colour."""
    truth = disc(192, 50)
    y, chroma = np.full((192, 192), 100, np.uint8), np.where(truth[::2, ::2], 170, 100).astype(np.uint8)
    soft = truth.reshape(12, 16, 12, 16).mean((1, 3))[None].astype(np.float32)
    video = sized(192, 192, 4)
    raw = soft_to_labels(soft, STRIDE, (1,), video)
    refined = refined_labels(soft, shrunk(y, 4), PicturePlanes(y, chroma, chroma), (1,), video)
    assert iou(refined, truth) > iou(raw, truth) + 0.005


@pytest.mark.parametrize(("size", "rotation"), [((90, 62), 0), ((91, 63), 90), ((90, 62), 180), ((93, 61), 270)])
def test_a_flat_picture_changes_nothing(size: tuple[int, int], rotation: int) -> None:
    """Where the picture shows no edge, labels are the interpolated ones, in display orientation."""
    width, height = size
    video = sized(width, height, 2, rotation)
    rng = np.random.default_rng(1)
    grid = -(-video.analysis_height // STRIDE), -(-video.analysis_width // STRIDE)
    soft = rng.random((3, *grid), np.float32) / 3
    flat = np.full((height, width), 77, np.uint8)
    analysis = np.full((video.analysis_height, video.analysis_width), 77, np.uint8)
    found = refined_labels(soft, analysis, gray(flat), (1, 2, 7), video)
    np.testing.assert_array_equal(found, soft_to_labels(soft, STRIDE, (1, 2, 7), video))
    assert found.shape == (video.display_height, video.display_width)


def test_a_thin_part_that_is_sure_does_not_vanish() -> None:
    """A pole of one cell keeps its pixels on any picture, since no share changes by more than the margin."""
    rng = np.random.default_rng(2)
    soft = np.zeros((1, 12, 12), np.float32)
    soft[0, :, 5:7] = 0.95
    y = rng.integers(0, 256, (48, 48), np.uint8)
    found = refined_labels(soft, y, gray(y), (1,), sized(48, 48))
    assert found[:, 22:26].all()
