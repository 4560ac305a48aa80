"""Motion-compensated prediction and residual against a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from codec.motion.block_grid import BlockMotion
from codec.motion.compensation import SUSPECT, Prediction
from codec.motion.reference_pictures import Stack
from codec.types import STRIDE, Int32Array, UInt8Array


def smooth(seed: int, width: int, height: int) -> UInt8Array:
    """A picture with gradients in all directions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = sum(rng.uniform(20, 40) * np.sin(rng.uniform(-0.4, 0.4) * x + rng.uniform(-0.4, 0.4) * y) for _ in range(3))
    return np.clip(128 + waves, 0, 255).astype(np.uint8)


def random_blocks(rows: int, columns: int, seed: int, size: int = 2) -> BlockMotion:
    """One block a `size` x `size` cells and list, some unused; some vectors reach far over the borders."""
    rng = np.random.default_rng(seed)
    number, block = 0, np.full((2, rows, columns), -1, np.int32)
    for which in (0, 1):
        for row in range(0, rows, size):
            for column in range(0, columns, size):
                if rng.random() < 0.6:
                    block[which, row : row + size, column : column + size] = number
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


def stack_of(pictures: dict[int, UInt8Array], names: tuple[int, ...]) -> Stack:
    """A stack that holds some pictures and has dropped two before them."""
    height, width = pictures[names[0]].shape
    stack = Stack((width, height), len(names))
    for name in (-2, -3):
        stack.put(name, pictures[names[0]], ())
    for name in names:
        stack.put(name, pictures[name], names)
    return stack


def slots_of(stack: Stack, reference: Int32Array) -> Int32Array:
    """The slot of each reference, -1 for -1."""
    return np.array([stack.slot(int(name)) if name >= 0 else -1 for name in reference], np.int32)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "height"), [(48, 32), (45, 31), (17, 50), (3, 2)])
def test_residual_is_luma_minus_bilinear_prediction(width: int, height: int, size: int) -> None:
    """Uni- and bi-prediction from several frames, over all borders, equal a loop over pixels to within rounding."""
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    blocks = random_blocks(rows, columns, width, size)
    rng = np.random.default_rng(1)
    reference = np.append(rng.choice([3, 5, 6, -1], len(blocks.lists), p=[0.4, 0.3, 0.2, 0.1]), -1).astype(np.int32)
    pictures = {name: smooth(name, width, height) for name in (3, 5, 6, 7)}
    stack = stack_of(pictures, (3, 5, 6))
    prediction = Prediction(blocks, slots_of(stack, reference), stack, pictures[7])
    slow = slow_residual(pictures[7], blocks, reference, pictures)
    assert np.abs(prediction.residual - slow).max() <= 1.01
    motion = prediction.motion()
    assert np.array_equal(motion.reference, reference[blocks.block])
    assert np.array_equal(motion.vectors, np.where(motion.reference[..., None] >= 0, blocks.vectors[blocks.block], 0))


def test_changed_references_predict_as_if_they_had_been_given() -> None:
    """Changing references afterwards gives the residual of these references."""
    width, height = 48, 32
    blocks = random_blocks(8, 12, seed=9)
    rng = np.random.default_rng(2)
    first, second = (np.append(rng.choice([3, 5, -1], len(blocks.lists)), -1).astype(np.int32) for _ in range(2))
    pictures = {name: smooth(name, width, height) for name in (3, 5, 7)}
    stack = stack_of(pictures, (3, 5))
    prediction = Prediction(blocks, slots_of(stack, first), stack, pictures[7])
    prediction.change(slots_of(stack, second))
    slow = slow_residual(pictures[7], blocks, second, pictures)
    assert np.abs(prediction.residual - slow).max() <= 1.01
    assert np.array_equal(prediction.motion().reference, second[blocks.block])


@pytest.mark.parametrize(("width", "height"), [(16, 8), (15, 6)])
def test_excess_counts_the_pixels_in_the_picture(width: int, height: int) -> None:
    """A block's excess counts the mean absolute difference of those pixels of each cell that are in the picture."""
    pictures = {3: smooth(3, width, height), 7: smooth(7, width, height)}
    stack = stack_of(pictures, (3, 7))
    whole = np.zeros((2, 2, 4), np.int32)
    whole[1] = -1
    blocks = BlockMotion(np.zeros((2, 2), np.float32), np.zeros(1, np.int32), np.zeros((1, 4), np.float32), whole)
    prediction = Prediction(blocks, np.array([stack.slot(3), -1], np.int32), stack, pictures[7])
    difference = np.abs(pictures[7].astype(float) - pictures[3])
    expected = sum(
        difference[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4].mean() - SUSPECT
        for row, column in np.ndindex(2, 4)
    )
    assert prediction.excess[0] == pytest.approx(expected)


def test_the_prediction_is_the_frame_where_there_is_none() -> None:
    """Without a block, and with a block without a reference, the residual is 0 and the motion says -1."""
    pictures = {3: smooth(3, 16, 8), 7: smooth(7, 16, 8)}
    stack = stack_of(pictures, (3, 7))
    block = np.full((2, 2, 4), -1, np.int32)
    block[0, :, :2] = 0
    blocks = BlockMotion(np.ones((2, 2), np.float32), np.zeros(1, np.int32), np.zeros((1, 4), np.float32), block)
    prediction = Prediction(blocks, np.array([-1, -1], np.int32), stack, pictures[7])
    assert not prediction.residual.any()
    assert (prediction.motion().reference == -1).all()
    assert not prediction.motion().vectors.any()


def test_a_stack_keeps_what_it_is_told_to() -> None:
    """A stack holds the pictures that are to be kept, each in a slot that does not change, and reuses the others'."""
    stack = Stack((8, 6), 4)
    rng = np.random.default_rng(5)
    keep: dict[int, int] = {}
    for name in range(40):
        keep = {held: keep[held] for held in rng.permutation(list(keep))[: rng.integers(0, 4)].tolist()}
        stack.put(name, np.full((6, 8), name, np.uint8), {*keep, name})
        keep[name] = stack.slot(name)
        for held, slot in keep.items():
            assert stack.slot(held) == slot
            assert (stack.pictures[slot] == held).all()
            assert stack.names[slot] == held
        assert stack.names[-1] == -1
