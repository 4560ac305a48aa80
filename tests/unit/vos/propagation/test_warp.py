"""Warping equals a slow loop over cells."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from codec.types import MotionField
from vos.propagation.warp import ReferenceStore, fill_missing, gather, sampling

ROWS, COLUMNS, CHANNELS = 9, 13, 3


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """Interpolate a plane at a position, with the border repeated."""
    y, x = min(max(y, 0), plane.shape[0] - 1), min(max(x, 0), plane.shape[1] - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
    fy, fx = y - top, x - left
    upper = plane[top, left] * (1 - fx) + plane[top, right] * fx
    lower = plane[bottom, left] * (1 - fx) + plane[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def slow_warp(motion: MotionField, held: dict[int, np.ndarray]) -> np.ndarray:
    """Warp cell by cell; every cell has a stored reference."""
    out = np.zeros((CHANNELS, ROWS, COLUMNS))
    for channel, row, column in np.ndindex(out.shape):
        values = []
        for layer in (0, 1):
            reference = motion.reference[layer, row, column]
            if reference in held:
                dx, dy = motion.vectors[layer, row, column]
                values.append(bilinear(held[reference][channel], row + dy / 4, column + dx / 4))
        out[channel, row, column] = np.mean(values)
    return out


def random_field(rng: np.random.Generator, references: list[int]) -> MotionField:
    """Return a field in which each cell has one or two references, and vectors may leave the picture."""
    reference = rng.choice([-1, *references], (2, ROWS, COLUMNS)).astype(np.int32)
    nothing = (reference < 0).all(axis=0)
    reference[0][nothing] = references[0]
    vectors = rng.normal(0, 12, (2, ROWS, COLUMNS, 2)).astype(np.float32)
    vectors[reference < 0] = 0
    return MotionField(vectors, reference)


@pytest.mark.parametrize("references", [[4], [4, 7], [1, 4, 7, 9, 12]])
def test_warp_equals_a_loop_over_cells(references: list[int]) -> None:
    """Each cell is the mean of its references' bilinear samples, for any mix of references."""
    rng = np.random.default_rng(len(references))
    held = {r: rng.random((CHANNELS, ROWS, COLUMNS)).astype(np.float32) for r in references}
    store = ReferenceStore(CHANNELS, ROWS, COLUMNS, torch.device("cpu"))
    for index, channels in held.items():
        store.put(index, torch.from_numpy(channels))
    motion = random_field(rng, references)
    warped = store.warp(motion)
    assert warped.reference_coverage == 1
    np.testing.assert_allclose(warped.channels.numpy(), slow_warp(motion, held), atol=1e-5)


def test_torch_operations_equal_the_compiled_loop() -> None:
    """Sampling with torch operations, as on a GPU, gives the same as a loop over cells."""
    rng = np.random.default_rng(5)
    table = rng.random((CHANNELS, 2, ROWS, COLUMNS)).astype(np.float32)
    motion = random_field(rng, [0, 1])
    places = sampling(motion.vectors, motion.reference, np.ones((2, ROWS, COLUMNS), np.bool_))
    warped = torch.zeros(CHANNELS, ROWS, COLUMNS)
    gather(torch.from_numpy(table), *places, warped)
    expected = slow_warp(motion, {0: table[:, 0], 1: table[:, 1]})
    np.testing.assert_allclose(warped.numpy(), expected, atol=1e-5)


def test_only_cells_from_around_an_object_are_warped() -> None:
    """A cell is warped if it comes, in at least one list, from at most 3 cells away from an object."""
    channels = np.random.default_rng(6).random((CHANNELS, ROWS, COLUMNS)).astype(np.float32)
    channels[:-1] = 0
    channels[0, 4, 2] = 0.5
    store = ReferenceStore(CHANNELS, ROWS, COLUMNS, torch.device("cpu"))
    store.put(0, torch.from_numpy(channels))
    motion = random_field(np.random.default_rng(7), [0])
    expected = slow_warp(motion, {0: channels})
    near = np.zeros((ROWS, COLUMNS), bool)
    for layer, row, column in zip(*np.nonzero(motion.reference == 0), strict=True):
        dx, dy = motion.vectors[layer, row, column]
        y, x = int(np.clip(row + dy / 4, 0, ROWS - 1)), int(np.clip(column + dx / 4, 0, COLUMNS - 1))
        near[row, column] |= 1 <= y <= 7 and x <= 5
    assert 10 < near.sum() < near.size - 10
    np.testing.assert_allclose(store.warp(motion).channels.numpy(), expected * near, atol=1e-5)


def test_a_missing_reference_leaves_its_cells_to_the_other_list() -> None:
    """A bi-predicted cell with one missing reference takes the other reference alone."""
    rng = np.random.default_rng(0)
    held = {3: rng.random((CHANNELS, ROWS, COLUMNS)).astype(np.float32)}
    store = ReferenceStore(CHANNELS, ROWS, COLUMNS, torch.device("cpu"))
    store.put(3, torch.from_numpy(held[3]))
    reference = np.stack([np.full((ROWS, COLUMNS), 3), np.full((ROWS, COLUMNS), 8)]).astype(np.int32)
    motion = MotionField(rng.normal(0, 4, (2, ROWS, COLUMNS, 2)).astype(np.float32), reference)
    np.testing.assert_allclose(store.warp(motion).channels.numpy(), slow_warp(motion, held), atol=1e-5)


def test_only_list_one_is_sampled_when_list_zero_is_unused() -> None:
    """A frame that is predicted only from its future is warped from there."""
    rng = np.random.default_rng(1)
    held = {5: rng.random((CHANNELS, ROWS, COLUMNS)).astype(np.float32)}
    store = ReferenceStore(CHANNELS, ROWS, COLUMNS, torch.device("cpu"))
    store.put(5, torch.from_numpy(held[5]))
    reference = np.stack([np.full((ROWS, COLUMNS), -1), np.full((ROWS, COLUMNS), 5)]).astype(np.int32)
    reference[1, :2] = -1
    vectors = np.zeros((2, ROWS, COLUMNS, 2), np.float32)
    vectors[1, 2:] = (8, -4)
    warped = store.warp(MotionField(vectors, reference)).channels.numpy()
    expected = slow_warp(
        MotionField(np.broadcast_to(np.float32([8, -4]), vectors.shape), np.full_like(reference, 5)), held
    )
    np.testing.assert_allclose(warped, expected, atol=1e-5)


def test_a_frame_without_references_repeats_the_latest_one() -> None:
    """Without any available reference the latest masks are kept, and the reference coverage is 0."""
    store = ReferenceStore(CHANNELS, ROWS, COLUMNS, torch.device("cpu"))
    latest = torch.rand(CHANNELS, ROWS, COLUMNS)
    store.put(0, torch.zeros(CHANNELS, ROWS, COLUMNS))
    store.put(1, latest)
    warped = store.warp(MotionField.empty(ROWS, COLUMNS))
    assert warped.reference_coverage == 0
    assert torch.equal(warped.channels, latest)


def test_the_store_drops_unavailable_frames_and_reuses_their_slots() -> None:
    """However many frames pass, the table only grows to the number of frames available at once."""
    store = ReferenceStore(2, 4, 4, torch.device("cpu"))
    for index in range(200):
        store.put(index, torch.full((2, 4, 4), float(index)))
        store.keep((index - 2, index - 1))
    assert len(store) == 3
    assert 197 in store
    assert 196 not in store
    assert len(store._table) <= 4
    assert (store.latest() == 199).all()


def test_missing_vectors_take_the_mean_of_their_neighbours() -> None:
    """A hole in a uniform field gets its motion; cells that point to another frame do not count."""
    vectors = np.zeros((2, ROWS, COLUMNS, 2), np.float32)
    vectors[0] = (6, -2)
    slots = np.stack([np.zeros((ROWS, COLUMNS)), np.full((ROWS, COLUMNS), -1)]).astype(np.int32)
    slots[0, 3:6, 4:9] = -1
    vectors[0, 3:6, 4:9] = 0
    slots[0, 4, 3], vectors[0, 4, 3] = 1, (99, 99)
    filled, filled_slots = fill_missing(vectors, slots)
    np.testing.assert_allclose(filled[0, 3:6, 4:9], np.broadcast_to([6, -2], (3, 5, 2)), atol=1e-4)
    assert (filled_slots[0, 3:6, 4:9] == 0).all()
    assert tuple(filled[0, 4, 3]) == (99, 99)


def pyramid_mean(vectors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean of the known vectors [rows, columns, 2] in the smallest square that contains one."""
    sums = np.dstack([vectors * known[..., None], known]).astype(np.float32)
    size, found = known.shape, np.zeros((*known.shape, 2), np.float32)
    open_, levels = np.ones(size, bool), []
    while not levels or levels[-1].size > 3:
        sums = cv2.resize(sums, (-(-sums.shape[1] // 4), -(-sums.shape[0] // 4)), interpolation=cv2.INTER_AREA)
        sums = sums.reshape(-(-size[0] // 4), -(-size[1] // 4), 3)
        levels.append(sums)
        size = sums.shape[:2]
        spread = sums
        for finer in [*[level.shape[:2] for level in levels[-2::-1]], known.shape]:
            spread = cv2.resize(spread, finer[::-1], interpolation=cv2.INTER_NEAREST).reshape(*finer, 3)
        fills = open_ & (spread[..., 2] > 1e-6)
        found[fills] = spread[fills][:, :2] / spread[fills][:, 2:]
        open_ &= ~fills
    return found


@pytest.mark.parametrize("size", [(9, 13), (30, 54), (68, 17), (120, 214)])
@pytest.mark.parametrize("share", [0.9, 0.03, 0.0005])
def test_holes_are_filled_from_the_smallest_square_with_vectors(size: tuple[int, int], share: float) -> None:
    """For any share of cells with vectors, the result equals resizing by areas step by step."""
    rng = np.random.default_rng(size[0])
    slots = np.where(rng.random((2, *size)) < share, rng.integers(0, 3, (2, *size)), -1).astype(np.int32)
    slots[1, size[0] // 2, size[1] // 2] = 1
    vectors = rng.normal(0, 9, (2, *size, 2)).astype(np.float32)
    counts = [[(layer == slot).sum() for slot in range(3)] for layer in slots]
    used, common = np.unravel_index(np.argmax(counts), (2, 3))
    filled, filled_slots = fill_missing(vectors, slots)
    holes = (slots < 0).all(axis=0)
    expected = vectors.copy()
    expected[used][holes] = pyramid_mean(vectors[used], slots[used] == common)[holes]
    np.testing.assert_allclose(filled, expected, atol=1e-4)
    assert (filled_slots[used][holes] == common).all()
    filled_slots[used][holes] = -1
    np.testing.assert_array_equal(filled_slots, slots)
