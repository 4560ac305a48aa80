"""Carrying masks to a frame, and the doubt that grows on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codec.types import CompressedFrame, FrameType, MotionField
from vos.propagate import HOP_DOUBT, INTRA_DOUBT, RESIDUAL_FLOOR, RESIDUAL_RANGE, Carried, carry, mean_absolute
from vos.warp import ReferenceStore


def frame(residual: np.ndarray, reference: np.ndarray) -> CompressedFrame:
    """A frame at rest: every vector is 0."""
    luma = np.zeros(residual.shape, np.uint8)
    motion = MotionField(np.zeros((*reference.shape, 2), np.float32), reference.astype(np.int32))
    return CompressedFrame(1, 1, 1, 0.0, FrameType.P, True, luma, motion, residual, (0, 1), lambda: luma)


@pytest.mark.parametrize("size", [(16, 24), (10, 7)])
def test_mean_absolute_residual_equals_a_loop(size: tuple[int, int]) -> None:
    """Each cell is the mean magnitude of the pixels it covers, to the rounding of 8 bits."""
    residual = np.random.default_rng(0).integers(-255, 256, size).astype(np.int16)
    cells = mean_absolute(residual)
    padded = np.pad(np.abs(residual), [(0, -n % 4) for n in size], mode="edge")
    for row, column in np.ndindex(cells.shape):
        block = padded[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert cells[row, column] == pytest.approx(block.mean(), abs=0.51)


def test_doubt_rises_by_hops_residual_and_intra_blocks() -> None:
    """Doubt after a hop is what it was, and what the hop adds, joined as independent chances of being wrong."""
    residual = np.zeros((16, 16), np.int16)
    residual[4:8, 4:8] = -24
    reference = np.stack([np.zeros((4, 4)), np.full((4, 4), -1)])
    reference[0, 3, 3] = -1
    references = ReferenceStore(2, 4, 4, torch.device("cpu"))
    references.put(0, torch.stack([torch.ones(4, 4), torch.full((4, 4), 0.5)]))
    carried = carry(frame(residual, reference), references)
    doubt = carried.doubt.numpy()
    assert doubt[0, 0] == pytest.approx(1 - 0.5 * (1 - HOP_DOUBT))
    assert doubt[1, 1] == pytest.approx(1 - 0.5 * (1 - (24 - RESIDUAL_FLOOR) / RESIDUAL_RANGE))
    assert doubt[3, 3] == pytest.approx(1 - 0.5 * (1 - INTRA_DOUBT))
    assert carried.support == pytest.approx(15 / 16)
    torch.testing.assert_close(carried.soft, torch.ones(1, 4, 4))


def test_doubt_of_an_object_is_that_of_its_surroundings() -> None:
    """Doubt far from an object does not count for it, doubt beside it does, and an absent object has none."""
    soft = torch.zeros(3, 20, 20)
    soft[0, 2:6, 2:6] = 1
    soft[1, 12:16, 12:16] = 1
    doubt = torch.zeros(20, 20)
    doubt[2:6, 6:8] = 1
    by_object = Carried(soft, doubt, 1.0).doubt_by_object()
    assert by_object[0] > 0.1
    assert by_object[1] == by_object[2] == 0
