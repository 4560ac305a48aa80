"""Key frames with a memory, and work that is begun before its turn: the same masks, with or without it."""

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
from tests.support.networks import ForgetfulNetwork, UncertainRefiner
from tests.support.synthetic import encode, pan, x264
from tests.support.waiting import wait_for
from vos.geometry import PaddedSize
from vos.keyframes.keyframe_segmenter import KeyframeSegmenter
from vos.modeling.network import Features
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt
from vos.weights.load import load_network

REAL = [
    frame
    for size in [(64, 48)]
    for frame in open_video(io.BytesIO(encode(pan(40, size).frames, options=x264(bframes=3, ref=2))))
]


class NotingNetwork(ForgetfulNetwork):
    """Notes in which thread it encoded what brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[tuple[bool, float]] = []

    def encode(self, image: Tensor) -> Features:
        """The picture itself."""
        here = threading.current_thread() is threading.main_thread()
        self.encoded.append((here, float(image.mean())))
        return super().encode(image)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Presentation indices of the frames that were begun."""
    indices: list[int] = []
    begin = KeyframeSegmenter.begin

    def note(self: KeyframeSegmenter, frame: CompressedFrame) -> None:
        indices.append(frame.index)
        begin(self, frame)

    monkeypatch.setattr(KeyframeSegmenter, "begin", note)
    return indices


def run(cores: int, frames: list[CompressedFrame], refiner: UncertainRefiner, **options: object) -> list[FrameMask]:
    """Masks of a run on so many cores."""
    segmenter = Segmenter(NotingNetwork(), Options(**options), refiner)
    segmenter._workers._count = cores
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
def test_masks_do_not_depend_on_what_was_begun(
    frames: list[CompressedFrame], options: dict[str, object], begun: list[int]
) -> None:
    """With a core for it, next key frames are begun beside others, if known rightly; masks are as they are without."""
    alone = run(1, frames, UncertainRefiner({}), **options)
    assert begun == []
    beside = run(2, frames, UncertainRefiner({}), **options)
    assert begun
    keys = {mask.index for mask in alone if mask.source is MaskSource.KEY}
    assert set(begun) & keys
    assert set(begun) <= keys or "quality" in options
    assert_same(beside, alone)


def test_a_key_frame_that_was_not_foretold_is_the_right_one(begun: list[int]) -> None:
    """Where uncertainty makes an earlier frame key, its own features are used and the gap begins anew."""
    alone = run(1, chain(30), UncertainRefiner({3: 0.6}), quality="fast")
    beside = run(2, chain(30), UncertainRefiner({3: 0.6}), quality="fast")
    keys = [mask.index for mask in beside if mask.source is MaskSource.KEY]
    assert keys[0] == 3
    assert 8 in begun
    assert 8 not in keys
    assert keys[1] == 11
    assert 11 in begun
    assert_same(beside, alone)


@pytest.mark.parametrize("options", [{"keyframes": "every:1"}, {"keyframes": "codec"}], ids=str)
def test_nothing_is_begun_where_nothing_is_carried(options: dict[str, object], begun: list[int]) -> None:
    """Where every frame is key there is nothing to hide work behind: each is encoded in its turn, with all cores."""
    assert len(run(2, chain(14), UncertainRefiner({}), **options)) == 14
    assert begun == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.inference_mode()
def test_the_network_gives_the_same_beside(precision: str, pools: ThreadPools) -> None:
    """Features and memory of the shipped network hardly depend on the number of cores, and not on the thread."""
    network = load_network("compact", device="cpu", precision=precision)
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 3, 96, 160), dtype=np.uint8))
    mask = torch.zeros(1, 1, 96, 160, dtype=next(network.parameters()).dtype)
    mask[..., 20:60, 40:90] = 1

    def look(_: int) -> list[Tensor]:
        features = network.encode(network.normalize(picture).to(mask.dtype))
        memory = network.memorize(features, mask)
        return [features.key, *features.maps.values(), memory.key, memory.value]

    here = look(0)
    for found, expected in zip(pools.beside(look, 0).result(60), here, strict=True):
        scale = float(expected.float().abs().mean())
        torch.testing.assert_close(found.float(), expected.float(), rtol=0.02, atol=0.02 * scale)
    assert float(here[0].float().std()) > 0


def base(network: NotingNetwork, pools: ThreadPools | None) -> KeyframeSegmenter:
    """A pass over 64 x 48 pixels."""
    return KeyframeSegmenter(network, Options(), PaddedSize.of(48, 64, 16), pools, StageTimer(), None)


def test_a_frame_is_begun_once_and_another_is_not_taken_for_it(pools: ThreadPools) -> None:
    """Beginning a frame again does nothing; a frame that was not begun is encoded here."""
    network = NotingNetwork()
    pass_ = base(network, pools)
    first, second = chain(2)
    for _ in range(3):
        pass_.begin(first)
    assert pass_._begun is not None
    wait_for(lambda: network.encoded)
    found = pass_.encode(first)
    assert [here for here, _ in network.encoded] == [False]
    assert torch.equal(found.image[0, :, :48, :64], torch.from_numpy(first.rgb()).permute(2, 0, 1).float())
    pass_.begin(first)
    other = pass_.encode(second)
    assert torch.equal(other.image[0, :, :48, :64], torch.from_numpy(second.rgb()).permute(2, 0, 1).float())
    assert (True, float(other.image.mean())) in network.encoded


def test_without_workers_nothing_is_begun() -> None:
    """Every frame is encoded where it is asked for."""
    network = NotingNetwork()
    pass_ = base(network, None)
    assert not pass_.works_ahead
    frame = chain(1)[0]
    pass_.begin(frame)
    assert network.encoded == []
    pass_.encode(frame)
    assert [here for here, _ in network.encoded] == [True]


def test_an_error_beside_arrives_where_the_features_are_asked_for(pools: ThreadPools) -> None:
    """A picture that cannot be had is an error of its frame, not of the one before."""

    class Failing(NotingNetwork):
        def encode(self, image: Tensor) -> Features:  # noqa: ARG002 - as the network has it
            raise MemoryError("no room")

    pass_ = base(Failing(), pools)
    frame = chain(1)[0]
    pass_.begin(frame)
    with pytest.raises(MemoryError, match="no room"):
        pass_.encode(frame)
