"""Masks that a user gives in the middle of a video reach the memory of a memory network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.frames import chain, truth
from tests.support.networks import BrightnessNetwork
from vos.keyframes.base_network import merge_given
from vos.keyframes.keyframe_segmenter import KeyframeSegmenter
from vos.masks.geometry import PaddedSize
from vos.runtime.stage_timer import StageTimer
from vos.types import Options


@pytest.fixture
def base() -> KeyframeSegmenter:
    """A memory network that finds object k where the brightness is 100 * k, on 64 x 48 pixels."""
    return KeyframeSegmenter(BrightnessNetwork(), Options(), PaddedSize.of(48, 64, 16), None, StageTimer())


def soft(index: int, label: int) -> Tensor:
    """Return the true mask of an object."""
    return torch.from_numpy((truth(index) == label).astype("float32"))


@torch.inference_mode()
def test_an_object_can_be_added_later(base: KeyframeSegmenter) -> None:
    """The known object is segmented on the frame of the new one; both are segmented from there on."""
    frames = chain(3)
    first = base.prompt(0, base.encode(frames[0]), {0: soft(0, 1)})
    assert torch.equal(first, soft(0, 1)[None])
    features = base.encode(frames[1])
    hint = torch.zeros(1, 12, 16)
    base.memorize(1, features, base.to_full(base.segment(features, hint).logits))
    merged = base.prompt(2, base.encode(frames[2]), {0: soft(2, 1), 1: soft(2, 2)})
    assert torch.equal(merged, torch.stack([soft(2, 1), soft(2, 2)]))
    assert base.indices == (2,)
    assert base.segment(base.encode(frames[2]), torch.zeros(2, 12, 16)).logits.shape == (2, 1, 12, 16)


def test_given_masks_exclude_predicted_ones() -> None:
    """A predicted mask keeps only what lies outside the given ones, in proportion to what they leave."""
    predicted = torch.tensor([[[0.8, 0.6, 0.4]], [[0.1, 0.1, 0.1]]])
    merged = merge_given(predicted, {1: torch.tensor([[0.0, 1.0, 0.5]]), 2: torch.tensor([[0.0, 0.0, 0.25]])})
    expected = torch.tensor([[[0.8, 0.0, 0.2]], [[0.0, 1.0, 0.5]], [[0.0, 0.0, 0.25]]])
    torch.testing.assert_close(merged, expected)
