"""The segmenter on scripted frames, with a network that sees objects by their brightness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.types import CompressedFrame, FrameType, MotionField, VideoInfo
from tests.unit.vos.test_geometry import info
from vos.errors import OptionError, PromptError
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.segmenter import Segmenter
from vos.types import FrameMask, Options, Prompt, Source

WIDTH, HEIGHT = 64, 48
STEP = 4
"""Pixels that the square moves to the right each frame."""


class BrightnessNetwork(VOSNetwork):
    """Object k is where the picture has brightness 100 * k; counts its runs."""

    name = "brightness"

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.segmented = 0
        self.memorized = 0

    def normalize(self, rgb: Tensor) -> Tensor:
        """As it is."""
        return rgb.float()

    def encode(self, image: Tensor) -> Features:
        """The picture itself."""
        return Features(image, image[:, :1, ::16, ::16], {1: image})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """One number a position."""
        self.memorized += 1
        positions = features.key.flatten(2)
        return Memory(positions, F.avg_pool2d(masks, 16).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Compare brightness."""
        assert top_k > 0
        self.segmented += 1
        assert previous is not None
        grey = F.avg_pool2d(features.image[:, :1], 4)
        levels = 100.0 * torch.arange(1, len(memory.value) + 1).view(-1, 1, 1, 1)
        return (50 - (grey - levels).abs()).clamp(-20, 20)


def truth(index: int) -> np.ndarray:
    """Labels of frame `index`: a square of object 1 that moves, a resting one of object 2."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:24, 4 + STEP * index : 20 + STEP * index] = 1
    labels[32:44, 8:24] = 2
    return labels


def scripted(
    index: int, decode_index: int, references: dict[int, tuple[int, int]], **change: object
) -> CompressedFrame:
    """A frame whose cells point to where the square was in the references {list: (index distance, decode index)}."""
    labels = truth(index)
    picture = np.repeat((labels * np.uint8(100))[..., None], 3, axis=2)
    vectors = np.zeros((2, HEIGHT // 4, WIDTH // 4, 2), np.float32)
    reference = np.full((2, HEIGHT // 4, WIDTH // 4), -1, np.int32)
    for layer, (distance, held) in references.items():
        reference[layer] = held
        vectors[layer, 1:7, :, 0] = -STEP * distance
    fields = {
        "index": index,
        "decode_index": decode_index,
        "pts": index * 10,
        "time": index / 10,
        "type": FrameType.P if references else FrameType.I,
        "is_reference": True,
        "luma": picture[..., 0],
        "motion": MotionField(vectors, reference),
        "residual": np.zeros((HEIGHT, WIDTH), np.int16),
        "references_in_reach": tuple(range(max(0, decode_index - 3), decode_index + 1)),
        "to_rgb": lambda: picture,
    }
    return CompressedFrame(**{**fields, **change})


def chain(count: int) -> list[CompressedFrame]:
    """An I frame and P frames, each predicted from the one before."""
    return [scripted(i, i, {0: (1, i - 1)} if i else {}) for i in range(count)]


def pyramid() -> list[CompressedFrame]:
    """Presentation order I0 B1 B2 P3 B4 B5 P6, in decode order."""
    b = {"type": FrameType.B, "is_reference": False}
    return [
        scripted(0, 0, {}),
        scripted(3, 1, {0: (3, 0)}),
        scripted(1, 2, {0: (1, 0), 1: (-2, 1)}, **b),
        scripted(2, 3, {0: (2, 0), 1: (-1, 1)}, **b),
        scripted(6, 4, {0: (3, 1)}),
        scripted(4, 5, {0: (1, 1), 1: (-2, 4)}, **b),
        scripted(5, 6, {0: (2, 1), 1: (-1, 4)}, **b),
    ]


def run(
    frames: Iterable[CompressedFrame], *, prompt_index: int = 0, video: VideoInfo | None = None, **options: object
) -> tuple[list[FrameMask], Segmenter]:
    """All masks of a run."""
    segmenter = Segmenter(BrightnessNetwork(), Options(**options))
    prompt = Prompt(truth(prompt_index), prompt_index)
    return list(segmenter.run(frames, video or info(WIDTH, HEIGHT), prompt)), segmenter


def overlap(labels: np.ndarray, index: int) -> float:
    """Smallest intersection over union of the two objects."""
    wanted = truth(index)
    return min(((labels == k) & (wanted == k)).sum() / ((labels == k) | (wanted == k)).sum() for k in (1, 2))


@pytest.mark.parametrize("keyframes", ["every:1", "every:4", "every:100", "codec", "adaptive"])
def test_every_policy_follows_moving_objects(keyframes: str) -> None:
    """Whatever frames are key, masks of a motion that the vectors describe stay right."""
    masks, _ = run(chain(9), keyframes=keyframes)
    assert [m.index for m in masks] == list(range(9))
    assert min(overlap(m.labels, m.index) for m in masks) > 0.9


def test_masks_come_in_presentation_order_from_decode_order() -> None:
    """With B frames, masks come by index, each with its own pts, and B frames are propagated from both sides."""
    masks, segmenter = run(pyramid(), keyframes="codec")
    assert [(m.index, m.pts) for m in masks] == [(i, i * 10) for i in range(7)]
    sources = [m.source for m in masks]
    p, k = Source.PROPAGATED, Source.KEY
    assert sources == [Source.PROMPT, p, p, k, p, p, k]
    assert min(overlap(m.labels, m.index) for m in masks) > 0.9
    assert segmenter.stats.key_share == pytest.approx(3 / 7)


def test_network_runs_on_key_frames_only() -> None:
    """The network segments exactly the frames that say so, and nothing is encoded for the others."""
    masks, segmenter = run(chain(13), keyframes="every:6")
    network = segmenter.network
    assert isinstance(network, BrightnessNetwork)
    assert network.segmented == [m.source for m in masks].count(Source.KEY) == 2
    assert network.memorized == 3


@pytest.mark.parametrize("prompt_index", [1, 2, 3, 5])
def test_prompt_in_mid_video_starts_there(prompt_index: int) -> None:
    """Frames decoded before the prompt's frame but shown after it are segmented too, none is lost."""
    masks, _ = run(pyramid(), prompt_index=prompt_index, keyframes="adaptive")
    assert [m.index for m in masks] == list(range(prompt_index, 7))
    assert min(overlap(m.labels, m.index) for m in masks) > 0.9


def test_start_and_end_cut_the_output() -> None:
    """Only frames from start to end are given, and decoding stops soon after."""
    taken = []

    def counted() -> Iterator[CompressedFrame]:
        for frame in chain(15):
            taken.append(frame.index)
            yield frame

    masks, _ = run(counted(), start=3, end=6)
    assert [m.index for m in masks] == [3, 4, 5]
    assert max(taken) <= 6


def test_intra_damage_on_an_object_makes_a_key_frame() -> None:
    """A frame whose object is intra coded is segmented by the network; one with damage far away is not."""
    frames = chain(6)
    reference = frames[3].motion.reference.copy()
    reference[:, 1:7, 1:10] = -1
    frames[3] = scripted(3, 3, {}, type=FrameType.P, motion=MotionField(frames[3].motion.vectors * 0, reference))
    far = frames[4].motion.reference.copy()
    far[:, 8:, 11:] = -1
    frames[4] = scripted(4, 4, {}, type=FrameType.P, motion=MotionField(frames[4].motion.vectors, far))
    masks, _ = run(frames, keyframes="adaptive")
    assert [m.source for m in masks][3:5] == [Source.KEY, Source.PROPAGATED]


def test_a_frame_without_motion_is_marked_as_fallback() -> None:
    """An intra frame that the policy does not make key repeats the masks before it, and says so with a lower score."""
    frames = chain(3)
    frames[1] = scripted(1, 1, {})
    masks, _ = run(frames, keyframes="every:2")
    assert masks[1].source is Source.FALLBACK
    assert masks[1].scores[1] < masks[2].scores[1]


def test_an_object_that_leaves_scores_zero_and_comes_back() -> None:
    """While an object is out of the picture its score is 0, and the network finds it when it is there again."""
    frames = chain(6)
    hidden = np.where(truth(2) == 1, 0, truth(2)) * np.uint8(100)
    hidden = np.repeat(hidden[..., None], 3, axis=2)
    frames[2] = scripted(2, 2, {}, to_rgb=lambda: hidden)
    masks, _ = run(frames, keyframes="every:1")
    assert masks[2].scores[1] == 0
    assert masks[2].scores[2] > 0.9
    assert overlap(masks[3].labels, 3) > 0.9


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_masks_come_out_in_display_orientation(rotation: int) -> None:
    """For a rotated video, prompt and masks are upright while motion stays in coded orientation."""
    video = info(WIDTH, HEIGHT, rotation=rotation)
    segmenter = Segmenter(BrightnessNetwork(), Options(keyframes="every:3"))
    prompt = Prompt(np.ascontiguousarray(video.to_display(truth(0))))
    for mask in segmenter.run(chain(5), video, prompt):
        assert mask.labels.shape == (video.display_height, video.display_width)
        assert overlap(np.asarray(video.to_coded(mask.labels)), mask.index) > 0.9


@pytest.mark.parametrize(
    ("prompt_index", "options", "message"),
    [
        (9, {}, r"the prompt's frame is 9; the video has 4 frames, 0 to 3"),
        (0, {"start": 7}, r"start is 7; the video has 4 frames, 0 to 3"),
        (2, {"start": 1}, r"start is 1, before the prompt's frame 2"),
    ],
)
def test_a_range_outside_the_video_is_refused(prompt_index: int, options: dict[str, int], message: str) -> None:
    """The error says what was asked for and which frames there are."""
    with pytest.raises(OptionError, match=message):
        run(chain(4), prompt_index=prompt_index, **options)


def test_a_prompt_of_another_size_is_refused_before_any_frame() -> None:
    """The size check needs no decoding."""
    segmenter = Segmenter(BrightnessNetwork())
    with pytest.raises(PromptError, match="10x10 pixels; allowed: 64x48"):
        next(segmenter.run(iter(()), info(WIDTH, HEIGHT), Prompt(np.ones((10, 10), np.uint8))))
