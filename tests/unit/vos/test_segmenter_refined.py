"""The segmenter with a refiner: key frames after refinement, and resumed runs."""

from __future__ import annotations

import io
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from codec import open_video
from codec.types import CompressedFrame
from tests.support.frames import assert_same, chain, info, overlap, pyramid, stored, truth
from tests.support.networks import BrightnessNetwork, MemoryNetwork, UncertainRefiner, random_refiner
from tests.support.synthetic import encode, pan, x264
from vos.keyframes.policy import KEYFRAME_ALLOWANCE
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.refiner import Refiner
from vos.runtime.run_state import RunState
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt


class UncertainNetwork(BrightnessNetwork):
    """Finds both objects, the second one with a given confidence."""

    def __init__(self, confidence: float) -> None:
        super().__init__()
        self.confidence = confidence

    def segment(self, features: Features, memory: Memory, previous: Tensor, top_k: int) -> Tensor:
        """Limit the logits; aggregation with the background squares the odds."""
        logits = super().segment(features, memory, previous, top_k)
        logits[1:] = logits[1:].clamp(max=float(torch.logit(torch.tensor(self.confidence))) / 2)
        return logits


def run(
    refiner: Refiner | UncertainRefiner,
    frames: list[CompressedFrame],
    network: VOSNetwork | None = None,
    **options: object,
) -> list[FrameMask]:
    """Return all masks of a run."""
    segmenter = Segmenter(network or BrightnessNetwork(), Options(**options), refiner)
    return list(segmenter.run(frames, info(64, 48), Prompt(truth(0))))


def test_an_uncertain_refined_mask_makes_a_key_frame() -> None:
    """A frame whose refined mask is uncertain is segmented by the network; the other frames are not."""
    masks = run(UncertainRefiner({3: 0.65, 5: 0.8}), chain(8), keyframes="adaptive")
    keys = [mask.index for mask in masks if mask.source is MaskSource.KEY]
    assert keys == [3, 5]
    assert min(overlap(mask.labels, mask.index) for mask in masks) > 0.9


def test_uncertainty_shared_by_the_network_makes_no_key_frame() -> None:
    """Uncertainty up to that of the latest key frame makes no key frame."""
    uncertain = UncertainRefiner(dict.fromkeys(range(1, 9), 0.7))
    masks = run(uncertain, chain(8), UncertainNetwork(0.7), quality="fast")
    assert [mask.index for mask in masks if mask.source is MaskSource.KEY] == [1]
    masks = run(UncertainRefiner({4: 0.7, 6: 0.51}), chain(8), UncertainNetwork(0.7), quality="fast")
    assert [mask.index for mask in masks if mask.source is MaskSource.KEY] == [4, 6]


@pytest.mark.parametrize("keyframes", ["every:100", "codec"])
def test_fixed_policies_ignore_the_refiner(keyframes: str) -> None:
    """Under fixed policies an uncertain refined mask makes no key frame; it lowers the score."""
    refiner = UncertainRefiner(dict.fromkeys(range(1, 9), 0.6))
    masks = run(refiner, pyramid(), keyframes=keyframes, quality="best")
    assert refiner.count == sum(mask.source is MaskSource.PROPAGATED for mask in masks) >= 4
    expected = {"every:100": [], "codec": [3, 6]}
    assert [mask.index for mask in masks if mask.source is MaskSource.KEY] == expected[keyframes]
    scores = [mask.scores for mask in masks if mask.source is MaskSource.PROPAGATED]
    assert all(score[2] < 0.3 and score[1] > 0.7 for score in scores)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_the_share_of_key_frames_is_kept_at_every_time(share: float) -> None:
    """However uncertain all masks are, key frames stay within the share plus the allowance."""
    masks = run(UncertainRefiner(dict.fromkeys(range(60), 0.51)), chain(40), max_key_share=share)
    keys = 1
    for mask in masks[1:]:
        if mask.source is MaskSource.KEY:
            keys += 1
            assert keys <= share * (mask.index + 1) + KEYFRAME_ALLOWANCE
    assert keys == int(share * 40) + KEYFRAME_ALLOWANCE


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    """Return a network with random weights, whose masks depend on all of its inputs."""
    return random_refiner()


@pytest.mark.parametrize("keyframes", ["every:3", "adaptive"])
@pytest.mark.parametrize(("prompt_index", "cut"), [(0, 1), (0, 3), (0, 5), (2, 1), (2, 3), (1, 5)])
def test_a_run_with_b_frames_can_be_resumed(
    keyframes: str, prompt_index: int, cut: int, refiner: Refiner, tmp_path: Path
) -> None:
    """Wherever a run is interrupted, also with a prompt in mid-video, the remaining masks are the same."""
    options, prompt = (
        Options(keyframes=keyframes, max_key_share=0.5 if keyframes == "adaptive" else 1.0),
        Prompt(truth(prompt_index), prompt_index),
    )
    whole = list(Segmenter(MemoryNetwork(), options, refiner).run(pyramid(), info(64, 48), prompt))
    first = Segmenter(MemoryNetwork(), options, refiner)
    first_masks = list(islice(first.run(pyramid(), info(64, 48), prompt), cut))
    second = Segmenter(MemoryNetwork(), options, refiner)
    rest = list(second.run(pyramid(), info(64, 48), prompt, stored(first.state, tmp_path)))
    assert_same(first_masks + rest, whole)
    assert any(mask.source is MaskSource.PROPAGATED for mask in whole)


@pytest.mark.parametrize("prompt_index", [0, 2])
def test_a_run_can_be_interrupted_after_every_mask(prompt_index: int, refiner: Refiner, tmp_path: Path) -> None:
    """Stopping after every single mask, also while key frames are restored, changes nothing."""
    options, prompt = Options(keyframes="every:2"), Prompt(truth(prompt_index), prompt_index)
    whole = list(Segmenter(MemoryNetwork(), options, refiner).run(pyramid(), info(64, 48), prompt))
    state, masks = None, []
    for _ in whole:
        segmenter = Segmenter(MemoryNetwork(), options, refiner)
        masks.append(next(segmenter.run(pyramid(), info(64, 48), prompt, state)))
        state = stored(segmenter.state, tmp_path)
    assert_same(masks, whole)


@pytest.mark.parametrize("cut", [5, 9])
def test_a_run_on_an_encoded_clip_can_be_resumed(cut: int, refiner: Refiner, tmp_path: Path) -> None:
    """This also holds for an encoded clip with more key frames than the refiner keeps, and an odd picture size."""
    clip = encode(pan(18, (118, 90)).frames, options=x264(bframes=1, ref=3))
    labels = np.zeros((90, 118), np.uint8)
    labels[20:60, 30:80] = 3
    prompt, options = Prompt(labels), Options(keyframes="every:2", memory_frames=2)

    def masks(limit: int | None, state: RunState | None) -> tuple[list[FrameMask], RunState | None]:
        segmenter = Segmenter(MemoryNetwork(), options, refiner)
        with open_video(io.BytesIO(clip)) as reader:
            return list(islice(segmenter.run(reader, reader.info, prompt, state), limit)), segmenter.state

    whole, _ = masks(None, None)
    first_masks, state = masks(cut, None)
    rest, _ = masks(None, stored(state, tmp_path))
    assert len(whole) == 18
    assert_same(first_masks + rest, whole)
