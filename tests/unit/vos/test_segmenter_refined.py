"""The segmenter with a refiner: when it asks the network after all, and runs that go on."""

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
from tests.support.networks import BrightnessNetwork, MemoryNetwork, UncertainRefiner
from tests.support.synthetic import encode, pan, x264
from vos.keyframes.policy import KEYFRAME_ALLOWANCE
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.refiner import Refiner
from vos.runtime.run_state import RunState
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt


class UncertainNetwork(BrightnessNetwork):
    """Finds both objects, the second one with as little mask_confidence as is asked for."""

    def __init__(self, sure: float) -> None:
        super().__init__()
        self.sure = sure

    def segment(self, features: Features, memory: Memory, previous: Tensor, top_k: int) -> Tensor:
        """As found; aggregation with the background squares the odds."""
        logits = super().segment(features, memory, previous, top_k)
        logits[1:] = logits[1:].clamp(max=float(torch.logit(torch.tensor(self.sure))) / 2)
        return logits


def run(
    refiner: Refiner | UncertainRefiner,
    frames: list[CompressedFrame],
    network: VOSNetwork | None = None,
    **options: object,
) -> list[FrameMask]:
    """All masks of a run."""
    segmenter = Segmenter(network or BrightnessNetwork(), Options(**options), refiner)
    return list(segmenter.run(frames, info(64, 48), Prompt(truth(0))))


def test_a_repair_that_is_not_believed_makes_a_key_frame() -> None:
    """A frame whose refined mask is mask_uncertainty is segmented by the network, the others are not."""
    masks = run(UncertainRefiner({3: 0.65, 5: 0.8}), chain(8), keyframes="adaptive")
    keys = [mask.index for mask in masks if mask.source is MaskSource.KEY]
    assert keys == [3, 5]
    assert min(overlap(mask.labels, mask.index) for mask in masks) > 0.9


def test_doubt_that_the_network_shares_makes_no_key_frame() -> None:
    """Once the network turned out to be as mask_uncertainty as the refine, it is not asked for the same reason again."""
    mask_uncertainty = UncertainRefiner(dict.fromkeys(range(1, 9), 0.7))
    masks = run(mask_uncertainty, chain(8), UncertainNetwork(0.7), quality="fast")
    assert [mask.index for mask in masks if mask.source is MaskSource.KEY] == [1]
    masks = run(UncertainRefiner({4: 0.7, 6: 0.51}), chain(8), UncertainNetwork(0.7), quality="fast")
    assert [mask.index for mask in masks if mask.source is MaskSource.KEY] == [4, 6]


@pytest.mark.parametrize("keyframes", ["every:100", "codec"])
def test_fixed_policies_do_not_ask_the_refiner(keyframes: str) -> None:
    """Where the key frames are fixed, an mask_uncertainty refine changes none of them; it lowers the frame's score."""
    refiner = UncertainRefiner(dict.fromkeys(range(1, 9), 0.6))
    masks = run(refiner, pyramid(), keyframes=keyframes, quality="best")
    assert refiner.count == sum(mask.source is MaskSource.PROPAGATED for mask in masks) >= 4
    expected = {"every:100": [], "codec": [3, 6]}
    assert [mask.index for mask in masks if mask.source is MaskSource.KEY] == expected[keyframes]
    scores = [mask.scores for mask in masks if mask.source is MaskSource.PROPAGATED]
    assert all(score[2] < 0.3 and score[1] > 0.7 for score in scores)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_the_share_of_key_frames_is_kept_at_every_time(share: float) -> None:
    """However bad all repairs are, key frames are at most the given share of the frames so far, and the credit."""
    masks = run(UncertainRefiner(dict.fromkeys(range(60), 0.51)), chain(40), max_key_share=share)
    keys = 1
    for mask in masks[1:]:
        if mask.source is MaskSource.KEY:
            keys += 1
            assert keys <= share * (mask.index + 1) + KEYFRAME_ALLOWANCE
    assert keys == int(share * 40) + KEYFRAME_ALLOWANCE


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    """A network with random weights: its masks depend on everything that it is given."""
    torch.manual_seed(0)
    network = Refiner().eval().requires_grad_(False)
    for layer in (network.decoder.told8, network.decoder.told4):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return network


@pytest.mark.parametrize("keyframes", ["every:3", "adaptive"])
@pytest.mark.parametrize(("prompt_index", "cut"), [(0, 1), (0, 3), (0, 5), (2, 1), (2, 3), (1, 5)])
def test_b_frames_go_on_as_if_nothing_had_happened(
    keyframes: str, prompt_index: int, cut: int, refiner: Refiner, tmp_path: Path
) -> None:
    """Wherever a run with a refiner is cut, also one from a prompt in mid-video, the rest of its masks is the same."""
    options, prompt = (
        Options(keyframes=keyframes, max_key_share=0.5 if keyframes == "adaptive" else 1.0),
        Prompt(truth(prompt_index), prompt_index),
    )
    whole = list(Segmenter(MemoryNetwork(), options, refiner).run(pyramid(), info(64, 48), prompt))
    first = Segmenter(MemoryNetwork(), options, refiner)
    begun = list(islice(first.run(pyramid(), info(64, 48), prompt), cut))
    second = Segmenter(MemoryNetwork(), options, refiner)
    rest = list(second.run(pyramid(), info(64, 48), prompt, stored(first.state, tmp_path)))
    assert_same(begun + rest, whole)
    assert any(mask.source is MaskSource.PROPAGATED for mask in whole)


@pytest.mark.parametrize("prompt_index", [0, 2])
def test_a_run_can_be_interrupted_after_every_mask(prompt_index: int, refiner: Refiner, tmp_path: Path) -> None:
    """Stopping after every single mask, also while key frames are refiner_keys again, changes nothing."""
    options, prompt = Options(keyframes="every:2"), Prompt(truth(prompt_index), prompt_index)
    whole = list(Segmenter(MemoryNetwork(), options, refiner).run(pyramid(), info(64, 48), prompt))
    state, masks = None, []
    for _ in whole:
        segmenter = Segmenter(MemoryNetwork(), options, refiner)
        masks.append(next(segmenter.run(pyramid(), info(64, 48), prompt, state)))
        state = stored(segmenter.state, tmp_path)
    assert_same(masks, whole)


@pytest.mark.parametrize("cut", [5, 9])
def test_a_real_stream_goes_on_as_if_nothing_had_happened(cut: int, refiner: Refiner, tmp_path: Path) -> None:
    """The same for an encoded clip with more key frames than the refiner remembers, of a size that is no multiple."""
    clip = encode(pan(18, (118, 90)).frames, options=x264(bframes=1, ref=3))
    labels = np.zeros((90, 118), np.uint8)
    labels[20:60, 30:80] = 3
    prompt, options = Prompt(labels), Options(keyframes="every:2", memory_frames=2)

    def masks(limit: int | None, state: RunState | None) -> tuple[list[FrameMask], RunState | None]:
        segmenter = Segmenter(MemoryNetwork(), options, refiner)
        with open_video(io.BytesIO(clip)) as reader:
            return list(islice(segmenter.run(reader, reader.info, prompt, state), limit)), segmenter.state

    whole, _ = masks(None, None)
    begun, state = masks(cut, None)
    rest, _ = masks(None, stored(state, tmp_path))
    assert len(whole) == 18
    assert_same(begun + rest, whole)
