"""Motion-compensated prediction and residual against a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from codec.atlas import Atlas
from codec.motion import BlockMotion
from codec.prediction import Prediction, Workspace
from codec.types import STRIDE, UInt8Array


def smooth(seed: int, width: int, height: int) -> UInt8Array:
    """A picture with gradients in all directions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = sum(rng.uniform(20, 40) * np.sin(rng.uniform(-0.4, 0.4) * x + rng.uniform(-0.4, 0.4) * y) for _ in range(3))
    return np.clip(128 + waves, 0, 255).astype(np.uint8)


def random_blocks(rows: int, columns: int, seed: int) -> BlockMotion:
    """One block a 2 x 2 cells and list, some unused; some vectors reach far over the borders."""
    rng = np.random.default_rng(seed)
    number, block = 0, np.full((2, rows, columns), -1, np.int32)
    for which in (0, 1):
        for row in range(0, rows, 2):
            for column in range(0, columns, 2):
                if rng.random() < 0.6:
                    block[which, row : row + 2, column : column + 2] = number
                    number += 1
    vectors = np.append(rng.integers(-120, 120, (number, 2)) / 4, [[0, 0]], axis=0).astype(np.float32)
    corners = np.zeros((number, 4), np.float32)
    return BlockMotion(vectors, np.zeros(number, np.int32), corners, block)


def slow_residual(
    luma: UInt8Array, blocks: BlockMotion, reference: np.ndarray, pictures: dict[int, UInt8Array]
) -> np.ndarray:
    """Luma minus bilinear prediction with repeated edges, pixel by pixel; lists averaged; 0 without a vector."""
    height, width = luma.shape
    out = np.zeros(luma.shape)
    for y in range(height):
        for x in range(width):
            predictions = []
            for which in (0, 1):
                block = blocks.block[which, y // STRIDE, x // STRIDE]
                if block < 0 or reference[block] < 0:
                    continue
                dx, dy = blocks.vectors[block]
                px, py = min(max(x + dx, 0), width - 1), min(max(y + dy, 0), height - 1)
                x0, y0 = int(np.floor(px)), int(np.floor(py))
                x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                fx, fy = px - x0, py - y0
                p = pictures[int(reference[block])].astype(float)
                top = p[y0, x0] * (1 - fx) + p[y0, x1] * fx
                bottom = p[y1, x0] * (1 - fx) + p[y1, x1] * fx
                predictions.append(top * (1 - fy) + bottom * fy)
            if predictions:
                out[y, x] = luma[y, x] - np.mean(predictions)
    return out


@pytest.mark.parametrize(("width", "height"), [(48, 32), (45, 31), (17, 50)])
def test_residual_is_luma_minus_bilinear_prediction(width: int, height: int) -> None:
    """Uni- and bi-prediction from several frames, over all borders, equal a loop over pixels to within rounding."""
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    blocks = random_blocks(rows, columns, seed=width)
    rng = np.random.default_rng(1)
    reference = np.append(rng.choice([3, 5, 6, -1], len(blocks.lists), p=[0.4, 0.3, 0.2, 0.1]), -1).astype(np.int32)
    pictures = {name: smooth(name, width, height) for name in (3, 5, 6, 7)}
    atlas = Atlas((width, height), 5)
    for name, picture in pictures.items():
        atlas.put(name, picture)
    prediction = Prediction(blocks, reference, atlas, 7, Workspace(rows, columns))
    slow = slow_residual(pictures[7], blocks, reference, pictures)
    assert np.abs(prediction.residual(pictures[7]) - slow).max() <= 1.01


def test_changed_references_predict_as_if_they_had_been_given() -> None:
    """Changing references afterwards gives the residual of these references."""
    width, height = 48, 32
    blocks = random_blocks(8, 12, seed=9)
    rng = np.random.default_rng(2)
    first, second = (np.append(rng.choice([3, 5, -1], len(blocks.lists)), -1).astype(np.int32) for _ in range(2))
    pictures = {name: smooth(name, width, height) for name in (3, 5, 7)}
    atlas = Atlas((width, height), 4)
    for name, picture in pictures.items():
        atlas.put(name, picture)
    prediction = Prediction(blocks, first, atlas, 7, Workspace(8, 12))
    prediction.change(second)
    slow = slow_residual(pictures[7], blocks, second, pictures)
    assert np.abs(prediction.residual(pictures[7]) - slow).max() <= 1.01
    assert np.array_equal(prediction.reference, second[blocks.block])


def test_cell_error_is_the_mean_of_two_lines() -> None:
    """A cell's error is the mean absolute difference over its first and third line."""
    width, height = 16, 8
    pictures = {3: smooth(3, width, height), 7: smooth(7, width, height)}
    atlas = Atlas((width, height), 3)
    for name, picture in pictures.items():
        atlas.put(name, picture)
    whole = np.zeros((2, 2, 4), np.int32)
    whole[1] = -1
    blocks = BlockMotion(np.zeros((2, 2), np.float32), np.zeros(1, np.int32), np.zeros((1, 4), np.float32), whole)
    prediction = Prediction(blocks, np.array([3, -1], np.int32), atlas, 7, Workspace(2, 4))
    difference = np.abs(pictures[7].astype(int) - pictures[3])[[0, 2, 4, 6]]
    expected = difference.reshape(2, 2, 4, 4).mean(axis=(1, 3))
    assert np.abs(prediction.error(pictures[7]) - expected).max() <= 0.51


def test_atlas_gives_the_oldest_slot_away_when_full() -> None:
    """A full atlas replaces its oldest picture and keeps the others where they are."""
    atlas = Atlas((8, 8), 4)
    for name in range(40):
        atlas.put(name, np.full((8, 8), name, np.uint8))
        for held in range(max(0, name - 3), name + 1):
            x, y = atlas.corner(held)
            assert (atlas.picture[y : y + 8, x : x + 8] == held).all()
