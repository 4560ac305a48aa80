"""Key frames are memorized on a spare core; the masks are the same with and without it."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from codec import open_video
from codec.types import CompressedFrame
from tests.support.frames import assert_same, chain, info, truth
from tests.support.networks import MemoryNetwork, UncertainRefiner
from tests.support.synthetic import encode, pan, x264
from vos.modeling.network import Features, Memory
from vos.runtime.thread_pools import ThreadPools
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt
from vos.weights.load import load_network

REAL = list(open_video(io.BytesIO(encode(pan(40, (64, 48)).frames, options=x264(bframes=3, ref=2)))))


class RecordingNetwork(MemoryNetwork):
    """Records for each memorized frame whether the main thread did it."""

    def __init__(self) -> None:
        super().__init__()
        self.memorized_here: list[bool] = []

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Return the memory entry."""
        self.memorized_here.append(threading.current_thread() is threading.main_thread())
        return super().memorize(features, masks)


def run(
    cores: int, frames: list[CompressedFrame], refiner: UncertainRefiner, **options: object
) -> tuple[list[FrameMask], list[bool]]:
    """Return the masks of a run on this number of cores, and whether the main thread memorized each key frame."""
    network = RecordingNetwork()
    segmenter = Segmenter(network, Options(**options), refiner)
    segmenter._pools._count = cores
    return list(segmenter.run(frames, info(64, 48), Prompt(truth(0)))), network.memorized_here


@pytest.mark.parametrize(
    ("frames", "options"),
    [
        (chain(14), {"keyframes": "every:3"}),
        (chain(14), {"quality": "best"}),
        (REAL, {"keyframes": "every:3"}),
        (REAL, {"keyframes": "codec"}),
        (REAL, {"quality": "best"}),
    ],
    ids=["chain every:3", "chain best", "real every:3", "real codec", "real best"],
)
def test_masks_do_not_depend_on_spare_cores(frames: list[CompressedFrame], options: dict[str, object]) -> None:
    """On two cores key frames are memorized beside refinement; masks equal those on one core."""
    (alone, memorized_alone), (beside, memorized_beside) = (
        run(cores, frames, UncertainRefiner({}), **options) for cores in (1, 2)
    )
    keys = [mask.index for mask in alone if mask.source is MaskSource.KEY]
    assert keys
    assert memorized_alone == [True] * (len(keys) + 1)
    assert memorized_beside[: len(keys)] == [False] * len(keys)  # nothing waits for the last one
    assert_same(beside, alone)


def test_when_every_frame_is_key_each_is_memorized_in_its_turn() -> None:
    """Without a refinement to overlap with, the caller memorizes each frame, on all cores."""
    masks, memorized = run(2, chain(14), UncertainRefiner({}), keyframes="every:1")
    assert len(masks) == 14
    assert memorized == [True] * 14


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.inference_mode()
def test_the_network_computes_the_same_in_another_thread(precision: str, pools: ThreadPools) -> None:
    """Features and memory of the shipped network hardly depend on the number of cores, and not on the thread."""
    network = load_network("compact", device="cpu", precision=precision)
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 3, 96, 160), dtype=np.uint8))
    mask = torch.zeros(1, 1, 96, 160, dtype=next(network.parameters()).dtype)
    mask[..., 20:60, 40:90] = 1

    def compute(_: int) -> list[Tensor]:
        features = network.encode(network.normalize(picture).to(mask.dtype))
        memory = network.memorize(features, mask)
        return [features.key, *features.maps.values(), memory.key, memory.value]

    here = compute(0)
    for found, expected in zip(pools.beside(compute, 0).result(60), here, strict=True):
        scale = float(expected.float().abs().mean())
        torch.testing.assert_close(found.float(), expected.float(), rtol=0.02, atol=0.02 * scale)
    assert float(here[0].float().std()) > 0
