"""Masks are propagated to a frame, and their uncertainty grows on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codec.types import CompressedFrame, FrameType, MotionField
from vos.propagation.propagate import propagate
from vos.propagation.uncertainty import (
    HOP_UNCERTAINTY,
    INTRA_UNCERTAINTY,
    RESIDUAL_FLOOR,
    RESIDUAL_RANGE,
    mean_absolute,
)
from vos.propagation.warp import ReferenceStore


def frame(residual: np.ndarray, reference: np.ndarray) -> CompressedFrame:
    """Return a frame without motion: every vector is 0."""
    luma = np.zeros(residual.shape, np.uint8)
    motion = MotionField(np.zeros((*reference.shape, 2), np.float32), reference.astype(np.int32))
    return CompressedFrame(1, 1, 1, 0.0, FrameType.P, True, luma, motion, residual, (0, 1), lambda: luma)


@pytest.mark.parametrize("size", [(16, 24), (10, 7)])
def test_mean_absolute_residual_equals_a_loop(size: tuple[int, int]) -> None:
    """Each cell is the mean magnitude of the pixels it covers, rounded to whole grey levels."""
    residual = np.random.default_rng(0).integers(-255, 256, size).astype(np.int16)
    cells = mean_absolute(residual)
    padded = np.pad(np.abs(residual), [(0, -n % 4) for n in size], mode="edge")
    for row, column in np.ndindex(cells.shape):
        block = padded[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert cells[row, column] == pytest.approx(block.mean(), abs=0.51)


def test_uncertainty_grows_with_hops_residual_and_intra_blocks() -> None:
    """Previous and added uncertainty combine like independent probabilities of error."""
    residual = np.zeros((60, 100), np.int16)
    residual[:, 40:60] = -24
    reference = np.stack([np.zeros((15, 25)), np.full((15, 25), -1)])
    reference[0, :, 20:] = -1
    references = ReferenceStore(2, 15, 25, torch.device("cpu"))
    references.put(0, torch.stack([torch.ones(15, 25), torch.full((15, 25), 0.5)]))
    propagated = propagate(frame(residual, reference), references, 1)
    uncertainty = propagated.uncertainty.numpy()
    # In the middle of areas wider than the neighbourhood over which uncertainty is averaged.
    assert uncertainty[7, 2] == pytest.approx(1 - 0.5 * (1 - HOP_UNCERTAINTY))
    assert uncertainty[7, 12] == pytest.approx(1 - 0.5 * (1 - (24 - RESIDUAL_FLOOR) / RESIDUAL_RANGE))
    assert uncertainty[7, 23] == pytest.approx(1 - 0.5 * (1 - INTRA_UNCERTAINTY))
    assert propagated.reference_coverage == pytest.approx(20 / 25)
    torch.testing.assert_close(propagated.soft, torch.ones(1, 15, 25))


def test_uncertainty_per_object_depends_on_its_surroundings() -> None:
    """Intra blocks beside an object raise its uncertainty, distant ones do not, and an absent object has none."""
    reference = np.stack([np.zeros((20, 20)), np.full((20, 20), -1)])
    reference[0, 2:6, 6:8] = -1
    references = ReferenceStore(4, 20, 20, torch.device("cpu"))
    channels = torch.zeros(4, 20, 20)
    channels[0, 2:6, 2:6] = 1
    channels[1, 12:16, 12:16] = 1
    references.put(0, channels)
    by_object = propagate(frame(np.zeros((80, 80), np.int16), reference), references, 3).uncertainty_per_object()
    assert by_object[0] > 3 * HOP_UNCERTAINTY
    assert by_object[1] == pytest.approx(HOP_UNCERTAINTY)
    assert by_object[2] == 0
