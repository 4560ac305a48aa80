"""Key frames are prefetched on a spare core; the masks are the same with and without it."""

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
from tests.support.waiting import wait_for
from vos.keyframes.keyframe_segmenter import KeyframeSegmenter
from vos.masks.geometry import PaddedSize
from vos.modeling.network import Features
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt
from vos.weights.load import load_network

REAL = list(open_video(io.BytesIO(encode(pan(40, (64, 48)).frames, options=x264(bframes=3, ref=2)))))


class RecordingNetwork(MemoryNetwork):
    """Records for each encoded picture whether the main thread encoded it, and its brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[tuple[bool, float]] = []

    def encode(self, image: Tensor) -> Features:
        """Return the picture itself."""
        here = threading.current_thread() is threading.main_thread()
        self.encoded.append((here, float(image.mean())))
        return super().encode(image)


@pytest.fixture
def prefetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Presentation indices of the prefetched frames."""
    indices: list[int] = []
    prefetch = KeyframeSegmenter.prefetch

    def record(self: KeyframeSegmenter, frame: CompressedFrame) -> None:
        indices.append(frame.index)
        prefetch(self, frame)

    monkeypatch.setattr(KeyframeSegmenter, "prefetch", record)
    return indices


def run(cores: int, frames: list[CompressedFrame], refiner: UncertainRefiner, **options: object) -> list[FrameMask]:
    """Return the masks of a run on this number of cores."""
    segmenter = Segmenter(RecordingNetwork(), Options(**options), refiner)
    segmenter._pools._count = cores
    return list(segmenter.run(frames, info(64, 48), Prompt(truth(0))))


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
def test_masks_do_not_depend_on_prefetching(
    frames: list[CompressedFrame], options: dict[str, object], prefetched: list[int]
) -> None:
    """On two cores key frames are prefetched, only correct ones under a fixed policy; masks equal those on one core."""
    alone = run(1, frames, UncertainRefiner({}), **options)
    assert prefetched == []
    beside = run(2, frames, UncertainRefiner({}), **options)
    assert prefetched
    keys = {mask.index for mask in alone if mask.source is MaskSource.KEY}
    assert set(prefetched) & keys
    assert set(prefetched) <= keys or "quality" in options
    assert_same(beside, alone)


def test_an_unexpected_key_frame_uses_its_own_features(prefetched: list[int]) -> None:
    """When uncertainty makes an earlier frame key, that frame is encoded and the gap starts again."""
    alone = run(1, chain(30), UncertainRefiner({3: 0.6}), quality="fast")
    beside = run(2, chain(30), UncertainRefiner({3: 0.6}), quality="fast")
    keys = [mask.index for mask in beside if mask.source is MaskSource.KEY]
    assert keys[0] == 3
    assert 8 in prefetched
    assert 8 not in keys
    assert keys[1] == 11
    assert 11 in prefetched
    assert_same(beside, alone)


@pytest.mark.parametrize("options", [{"keyframes": "every:1"}, {"keyframes": "codec"}], ids=str)
def test_nothing_is_prefetched_when_every_frame_is_key(options: dict[str, object], prefetched: list[int]) -> None:
    """Without a refinement to overlap with, each frame is encoded in its turn on all cores."""
    assert len(run(2, chain(14), UncertainRefiner({}), **options)) == 14
    assert prefetched == []


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


def keyframe_segmenter(network: RecordingNetwork, pools: ThreadPools | None) -> KeyframeSegmenter:
    """Make one for 64 x 48 pixels."""
    return KeyframeSegmenter(network, Options(), PaddedSize.of(48, 64, 16), pools, StageTimer())


def test_a_frame_is_prefetched_once_and_used_only_for_itself(pools: ThreadPools) -> None:
    """Prefetching a frame again does nothing; another frame is encoded by the caller."""
    network = RecordingNetwork()
    base = keyframe_segmenter(network, pools)
    first, second = chain(2)
    for _ in range(3):
        base.prefetch(first)
    assert base._prefetched is not None
    wait_for(lambda: network.encoded)
    found = base.encode(first)
    assert [here for here, _ in network.encoded] == [False]
    assert torch.equal(found.features.image[0, :, :48, :64], torch.from_numpy(first.rgb()).permute(2, 0, 1).float())
    base.prefetch(first)
    other = base.encode(second)
    assert torch.equal(other.features.image[0, :, :48, :64], torch.from_numpy(second.rgb()).permute(2, 0, 1).float())
    assert (True, float(other.features.image.mean())) in network.encoded


def test_without_pools_nothing_is_prefetched() -> None:
    """Every frame is encoded by the caller, when it is asked for."""
    network = RecordingNetwork()
    base = keyframe_segmenter(network, None)
    assert not base.can_prefetch
    frame = chain(1)[0]
    base.prefetch(frame)
    assert network.encoded == []
    base.encode(frame)
    assert [here for here, _ in network.encoded] == [True]


def test_an_error_while_prefetching_is_raised_by_encode(pools: ThreadPools) -> None:
    """The error belongs to its own frame, not to the one processed meanwhile."""

    class Failing(RecordingNetwork):
        def encode(self, image: Tensor) -> Features:  # noqa: ARG002 - required by the base class
            raise MemoryError("no room")

    base = keyframe_segmenter(Failing(), pools)
    frame = chain(1)[0]
    base.prefetch(frame)
    with pytest.raises(MemoryError, match="no room"):
        base.encode(frame)
