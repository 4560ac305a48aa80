"""Warping against a slow loop over cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codec.types import MotionField
from vos.warp import ReferenceStore, fill_missing

ROWS, COLUMNS, CHANNELS = 9, 13, 3


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """Value of a plane at a place, the border repeated."""
    y, x = min(max(y, 0), plane.shape[0] - 1), min(max(x, 0), plane.shape[1] - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
    fy, fx = y - top, x - left
    upper = plane[top, left] * (1 - fx) + plane[top, right] * fx
    lower = plane[bottom, left] * (1 - fx) + plane[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def slow_warp(motion: MotionField, held: dict[int, np.ndarray]) -> np.ndarray:
    """What warping must give where every cell has a reference that is held."""
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
    """A field where each cell has one or two references and vectors that may leave the picture."""
    reference = rng.choice([-1, *references], (2, ROWS, COLUMNS)).astype(np.int32)
    nothing = (reference < 0).all(axis=0)
    reference[0][nothing] = references[0]
    vectors = rng.normal(0, 12, (2, ROWS, COLUMNS, 2)).astype(np.float32)
    vectors[reference < 0] = 0
    return MotionField(vectors, reference)


@pytest.mark.parametrize("references", [[4], [4, 7], [1, 4, 7, 9, 12]])
def test_warp_equals_a_loop_over_cells(references: list[int]) -> None:
    """Each cell is the mean of its references' bilinear samples, whatever mixture of references a frame has."""
    rng = np.random.default_rng(len(references))
    held = {r: rng.random((CHANNELS, ROWS, COLUMNS)).astype(np.float32) for r in references}
    store = ReferenceStore(CHANNELS, ROWS, COLUMNS, torch.device("cpu"))
    for index, channels in held.items():
        store.put(index, torch.from_numpy(channels))
    motion = random_field(rng, references)
    warped = store.warp(motion)
    assert warped.support == 1
    np.testing.assert_allclose(warped.channels.numpy(), slow_warp(motion, held), atol=2e-3)


def test_a_reference_that_is_not_held_leaves_its_cells_to_the_other_list() -> None:
    """A bi-predicted cell whose one reference is gone takes the other alone, not a mean with nothing."""
    rng = np.random.default_rng(0)
    held = {3: rng.random((CHANNELS, ROWS, COLUMNS)).astype(np.float32)}
    store = ReferenceStore(CHANNELS, ROWS, COLUMNS, torch.device("cpu"))
    store.put(3, torch.from_numpy(held[3]))
    reference = np.stack([np.full((ROWS, COLUMNS), 3), np.full((ROWS, COLUMNS), 8)]).astype(np.int32)
    motion = MotionField(rng.normal(0, 4, (2, ROWS, COLUMNS, 2)).astype(np.float32), reference)
    np.testing.assert_allclose(store.warp(motion).channels.numpy(), slow_warp(motion, held), atol=2e-3)


def test_only_list_one_is_sampled_when_list_zero_is_unused() -> None:
    """A frame predicted from its future alone is carried from there."""
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
    np.testing.assert_allclose(warped, expected, atol=2e-3)


def test_a_frame_without_usable_motion_repeats_the_latest_one() -> None:
    """Without any reference at hand the latest masks are kept and support is 0."""
    store = ReferenceStore(CHANNELS, ROWS, COLUMNS, torch.device("cpu"))
    latest = torch.rand(CHANNELS, ROWS, COLUMNS)
    store.put(0, torch.zeros(CHANNELS, ROWS, COLUMNS))
    store.put(1, latest)
    warped = store.warp(MotionField.empty(ROWS, COLUMNS))
    assert warped.support == 0
    assert torch.equal(warped.channels, latest)


def test_store_forgets_what_is_out_of_reach_and_reuses_its_room() -> None:
    """However many frames pass, the buffer is as large as what is in reach at once."""
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
    """A hole in a field of one motion is filled with that motion; cells pointing elsewhere do not take part."""
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
