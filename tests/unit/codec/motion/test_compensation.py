"""Compare motion compensation with a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from codec.motion.block_grid import BlockGrid
from codec.motion.compensation import ERROR_TOLERANCE, MotionCompensation
from codec.motion.reference_pictures import ReferencePictures
from codec.types import STRIDE, Int32Array, UInt8Array


def smooth(seed: int, width: int, height: int) -> UInt8Array:
    """A smooth picture with gradients in all directions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = sum(rng.uniform(20, 40) * np.sin(rng.uniform(-0.4, 0.4) * x + rng.uniform(-0.4, 0.4) * y) for _ in range(3))
    return np.clip(128 + waves, 0, 255).astype(np.uint8)


def random_blocks(rows: int, columns: int, seed: int, size: int = 2) -> BlockGrid:
    """One block per `size` x `size` cells and list. Some are missing; some vectors point far outside."""
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
    return BlockGrid(vectors, np.zeros(number, np.int32), corners, block)


def slow_residual(
    luma: UInt8Array, grid: BlockGrid, reference: np.ndarray, pictures: dict[int, UInt8Array]
) -> np.ndarray:
    """Luma minus the bilinear prediction, pixel by pixel: edges repeated, lists averaged, 0 without a vector."""
    height, width = luma.shape
    out = np.zeros(luma.shape)
    for y in range(height):
        for x in range(width):
            predictions = []
            for which in (0, 1):
                block = grid.block_of_cell[which, y // STRIDE, x // STRIDE]
                if block < 0 or reference[block] < 0:
                    continue
                dx, dy = grid.vectors[block]
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


def references_of(pictures: dict[int, UInt8Array], names: tuple[int, ...]) -> ReferencePictures:
    """Reference pictures with these decode indices, after two others were dropped."""
    height, width = pictures[names[0]].shape
    references = ReferencePictures((width, height), len(names))
    for name in (-2, -3):
        references.add(name, pictures[names[0]], ())
    for name in names:
        references.add(name, pictures[name], names)
    return references


def slots_of(references: ReferencePictures, reference: Int32Array) -> Int32Array:
    """The slot of each reference picture, -1 for -1."""
    return np.array([references.slot(int(name)) if name >= 0 else -1 for name in reference], np.int32)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "height"), [(48, 32), (45, 31), (17, 50), (3, 2)])
def test_residual_is_luma_minus_bilinear_prediction(width: int, height: int, size: int) -> None:
    """Uni- and bi-prediction from several frames and across all borders match the loop to within rounding."""
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    grid = random_blocks(rows, columns, width, size)
    rng = np.random.default_rng(1)
    reference = np.append(rng.choice([3, 5, 6, -1], len(grid.lists), p=[0.4, 0.3, 0.2, 0.1]), -1).astype(np.int32)
    pictures = {name: smooth(name, width, height) for name in (3, 5, 6, 7)}
    references = references_of(pictures, (3, 5, 6))
    compensation = MotionCompensation(grid, slots_of(references, reference), references, pictures[7])
    slow = slow_residual(pictures[7], grid, reference, pictures)
    assert np.abs(compensation.residual - slow).max() <= 1.01
    motion = compensation.motion_field()
    assert np.array_equal(motion.reference, reference[grid.block_of_cell])
    assert np.array_equal(
        motion.vectors, np.where(motion.reference[..., None] >= 0, grid.vectors[grid.block_of_cell], 0)
    )


def test_updated_slots_predict_as_if_given_at_first() -> None:
    """After `update_slots`, residual and motion field are those of the new references."""
    width, height = 48, 32
    grid = random_blocks(8, 12, seed=9)
    rng = np.random.default_rng(2)
    first, second = (np.append(rng.choice([3, 5, -1], len(grid.lists)), -1).astype(np.int32) for _ in range(2))
    pictures = {name: smooth(name, width, height) for name in (3, 5, 7)}
    references = references_of(pictures, (3, 5))
    compensation = MotionCompensation(grid, slots_of(references, first), references, pictures[7])
    compensation.update_slots(slots_of(references, second))
    slow = slow_residual(pictures[7], grid, second, pictures)
    assert np.abs(compensation.residual - slow).max() <= 1.01
    assert np.array_equal(compensation.motion_field().reference, second[grid.block_of_cell])


@pytest.mark.parametrize(("width", "height"), [(16, 8), (15, 6)])
def test_excess_ignores_pixels_outside_the_picture(width: int, height: int) -> None:
    """The error of a cell at the border is the mean over its pixels inside the picture."""
    pictures = {3: smooth(3, width, height), 7: smooth(7, width, height)}
    references = references_of(pictures, (3, 7))
    whole = np.zeros((2, 2, 4), np.int32)
    whole[1] = -1
    grid = BlockGrid(np.zeros((2, 2), np.float32), np.zeros(1, np.int32), np.zeros((1, 4), np.float32), whole)
    compensation = MotionCompensation(grid, np.array([references.slot(3), -1], np.int32), references, pictures[7])
    difference = np.abs(pictures[7].astype(float) - pictures[3])
    expected = sum(
        difference[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4].mean() - ERROR_TOLERANCE
        for row, column in np.ndindex(2, 4)
    )
    assert compensation.excess[0] == pytest.approx(expected)


def test_cells_without_a_reference_have_no_residual() -> None:
    """Without a block, or with a block without a reference, the residual is 0 and the reference -1."""
    pictures = {3: smooth(3, 16, 8), 7: smooth(7, 16, 8)}
    references = references_of(pictures, (3, 7))
    block = np.full((2, 2, 4), -1, np.int32)
    block[0, :, :2] = 0
    grid = BlockGrid(np.ones((2, 2), np.float32), np.zeros(1, np.int32), np.zeros((1, 4), np.float32), block)
    compensation = MotionCompensation(grid, np.array([-1, -1], np.int32), references, pictures[7])
    assert not compensation.residual.any()
    assert (compensation.motion_field().reference == -1).all()
    assert not compensation.motion_field().vectors.any()


def test_reference_pictures_stay_in_their_slots() -> None:
    """Kept pictures stay in their slots unchanged; slots of other pictures are reused."""
    references = ReferencePictures((8, 6), 4)
    rng = np.random.default_rng(5)
    keep: dict[int, int] = {}
    for name in range(40):
        keep = {held: keep[held] for held in rng.permutation(list(keep))[: rng.integers(0, 4)].tolist()}
        references.add(name, np.full((6, 8), name, np.uint8), {*keep, name})
        keep[name] = references.slot(name)
        for held, slot in keep.items():
            assert references.slot(held) == slot
            assert (references.pictures[slot] == held).all()
            assert references.decode_indices[slot] == held
        assert references.decode_indices[-1] == -1
