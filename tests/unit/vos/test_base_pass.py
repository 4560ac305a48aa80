"""Key frames with a memory, and work that is begun before its turn: the same masks, with or without it."""

from __future__ import annotations

import io
import threading

import pytest
import torch
from torch import Tensor

from codec import open_video
from codec.types import CompressedFrame
from tests.synthetic import encode, pan, x264
from tests.unit.vos.test_geometry import info
from tests.unit.vos.test_resume import ForgetfulNetwork, assert_same
from tests.unit.vos.test_segmenter import chain, pyramid, truth
from tests.unit.vos.test_segmenter_refined import Unsure
from vos.base_pass import BasePass
from vos.geometry import Canvas
from vos.modeling.network import Features
from vos.segmenter import Segmenter
from vos.stopwatch import Stopwatch
from vos.types import FrameMask, Options, Prompt
from vos.workers import Workers

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


def run(cores: int, frames: list[CompressedFrame], refiner: Unsure, **options: object) -> tuple[list[FrameMask], int]:
    """Masks of a run on so many cores, and how many key frames were encoded beside."""
    network = NotingNetwork()
    segmenter = Segmenter(network, Options(**options), refiner)
    segmenter._workers._count = cores
    masks = list(segmenter.run(frames, info(64, 48), Prompt(truth(0))))
    return masks, sum(not here for here, _ in network.encoded)


@pytest.mark.parametrize("frames", [chain(14), pyramid(), REAL], ids=["chain", "pyramid", "real"])
@pytest.mark.parametrize("options", [{"keyframes": "every:3"}, {"keyframes": "codec"}, {"quality": "best"}], ids=str)
def test_masks_do_not_depend_on_what_was_begun(frames: list[CompressedFrame], options: dict[str, object]) -> None:
    """With a core for it, next key frames are encoded beside; every mask is as it is without."""
    alone, none = run(1, frames, Unsure({}), **options)
    beside, some = run(2, frames, Unsure({}), **options)
    assert none == 0
    assert some > 0
    assert_same(beside, alone)


def test_a_key_frame_that_was_not_foretold_is_the_right_one() -> None:
    """Where doubt makes an earlier frame key, its own features are used and the gap begins anew."""
    alone, _ = run(1, chain(30), Unsure({3: 0.6}), quality="fast")
    beside, some = run(2, chain(30), Unsure({3: 0.6}), quality="fast")
    assert some > 0
    assert_same(beside, alone)


def base(network: NotingNetwork, workers: Workers | None) -> BasePass:
    """A pass over 64 x 48 pixels."""
    return BasePass(network, Options(), Canvas.of(48, 64, 16), workers, Stopwatch(), None)


@pytest.fixture
def workers() -> Workers:
    """Two of them, whatever the machine."""
    made = Workers(torch.device("cpu"))
    made._count = 2
    return made


def test_a_frame_is_begun_once_and_another_is_not_taken_for_it(workers: Workers) -> None:
    """Beginning a frame again does nothing; a frame that was not begun is encoded here."""
    network = NotingNetwork()
    pass_ = base(network, workers)
    first, second = chain(2)
    for _ in range(3):
        pass_.begin(first)
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


def test_an_error_beside_arrives_where_the_features_are_asked_for(workers: Workers) -> None:
    """A picture that cannot be had is an error of its frame, not of the one before."""

    class Failing(NotingNetwork):
        def encode(self, image: Tensor) -> Features:  # noqa: ARG002 - as the network has it
            raise MemoryError("no room")

    pass_ = base(Failing(), workers)
    frame = chain(1)[0]
    pass_.begin(frame)
    with pytest.raises(MemoryError, match="no room"):
        pass_.encode(frame)
