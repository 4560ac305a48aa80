"""The segmenter on scripted frames, with a network that recognizes objects by their brightness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from codec.types import CompressedFrame, FrameType, MotionField, VideoInfo
from tests.support.frames import HEIGHT, WIDTH, chain, info, overlap, pyramid, scripted, truth
from tests.support.networks import BrightnessNetwork
from vos.errors import OptionError, PromptError
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt


def run(
    frames: Iterable[CompressedFrame], *, prompt_index: int = 0, video: VideoInfo | None = None, **options: object
) -> tuple[list[FrameMask], Segmenter]:
    """Return all masks of a run, and the segmenter."""
    segmenter = Segmenter(BrightnessNetwork(), Options(**options))
    prompt = Prompt(truth(prompt_index), prompt_index)
    return list(segmenter.run(frames, video or info(WIDTH, HEIGHT), prompt)), segmenter


@pytest.mark.parametrize("keyframes", ["every:1", "every:4", "every:100", "codec", "adaptive"])
def test_every_policy_follows_moving_objects(keyframes: str) -> None:
    """Under every policy, masks stay correct when the vectors describe the motion."""
    masks, _ = run(chain(9), keyframes=keyframes)
    assert [m.index for m in masks] == list(range(9))
    assert min(overlap(m.labels, m.index) for m in masks) > 0.9


def test_masks_are_yielded_in_presentation_order() -> None:
    """With B frames, masks come by index with their own pts, and B frames are propagated from both sides."""
    masks, segmenter = run(pyramid(), keyframes="codec")
    assert [(m.index, m.pts) for m in masks] == [(i, i * 10) for i in range(7)]
    sources = [m.source for m in masks]
    p, k = MaskSource.PROPAGATED, MaskSource.KEY
    assert sources == [MaskSource.PROMPT, p, p, k, p, p, k]
    assert min(overlap(m.labels, m.index) for m in masks) > 0.9
    assert segmenter.stats.key_share == pytest.approx(3 / 7)


def test_network_runs_on_key_frames_only() -> None:
    """The network segments exactly the key frames, and encodes no other frame."""
    masks, segmenter = run(chain(13), keyframes="every:6")
    network = segmenter.network
    assert isinstance(network, BrightnessNetwork)
    assert network.segmented == [m.source for m in masks].count(MaskSource.KEY) == 2
    assert network.memorized == 3


@pytest.mark.parametrize("prompt_index", [1, 2, 3, 5])
def test_a_prompt_in_mid_video_starts_the_output_there(prompt_index: int) -> None:
    """Frames decoded before the prompt frame but shown after it are segmented too."""
    masks, _ = run(pyramid(), prompt_index=prompt_index, keyframes="adaptive")
    assert [m.index for m in masks] == list(range(prompt_index, 7))
    assert min(overlap(m.labels, m.index) for m in masks) > 0.9


def test_start_and_end_limit_the_output() -> None:
    """Only frames from start to end are yielded, and decoding stops soon after."""
    taken = []

    def counted() -> Iterator[CompressedFrame]:
        for frame in chain(15):
            taken.append(frame.index)
            yield frame

    masks, _ = run(counted(), start=3, end=6)
    assert [m.index for m in masks] == [3, 4, 5]
    assert max(taken) <= 6


def test_frames_before_the_start_are_counted_apart() -> None:
    """They are segmented, and the network runs on key frames among them."""
    masks, segmenter = run(chain(13), keyframes="every:4", start=6)
    stats, network = segmenter.stats, segmenter.network
    assert isinstance(network, BrightnessNetwork)
    assert (stats.total, stats.segmented) == (len(masks), 13) == (7, 13)
    assert stats.frames == {MaskSource.PROPAGATED: 5, MaskSource.KEY: 2}
    assert stats.before_start == {MaskSource.PROMPT: 1, MaskSource.KEY: 1, MaskSource.PROPAGATED: 4}
    assert stats.network_runs == network.segmented + 1 == 4
    assert stats.key_share == pytest.approx(4 / 13)


def test_intra_blocks_on_an_object_make_a_key_frame() -> None:
    """A frame whose object is intra coded is segmented by the network; intra blocks elsewhere do not matter."""
    frames = chain(6)
    reference = frames[3].motion.reference.copy()
    reference[:, 1:7, 1:10] = -1
    frames[3] = scripted(3, 3, {}, type=FrameType.P, motion=MotionField(frames[3].motion.vectors * 0, reference))
    far = frames[4].motion.reference.copy()
    far[:, 8:, 11:] = -1
    frames[4] = scripted(4, 4, {}, type=FrameType.P, motion=MotionField(frames[4].motion.vectors, far))
    masks, _ = run(frames, keyframes="adaptive")
    assert [m.source for m in masks][3:5] == [MaskSource.KEY, MaskSource.PROPAGATED]


def test_a_frame_without_motion_is_marked_as_fallback() -> None:
    """An intra frame that is not key repeats the masks before it, with the source "fallback" and a lower score."""
    frames = chain(3)
    frames[1] = scripted(1, 1, {})
    masks, _ = run(frames, keyframes="every:2")
    assert masks[1].source is MaskSource.FALLBACK
    assert masks[1].scores[1] < masks[2].scores[1]


def test_an_object_that_leaves_scores_zero_and_comes_back() -> None:
    """While an object is out of the picture its score is 0; the network finds it when it returns."""
    frames = chain(6)
    hidden = np.where(truth(2) == 1, 0, truth(2)) * np.uint8(100)
    hidden = np.repeat(hidden[..., None], 3, axis=2)
    frames[2] = scripted(2, 2, {}, to_rgb=lambda: hidden)
    masks, _ = run(frames, keyframes="every:1")
    assert masks[2].scores[1] == 0
    assert masks[2].scores[2] > 0.9
    assert overlap(masks[3].labels, 3) > 0.9


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_masks_have_display_orientation(rotation: int) -> None:
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
        (9, {}, r"the prompt frame is 9; the video has 4 frames, 0 to 3"),
        (0, {"start": 7}, r"start is 7; the video has 4 frames, 0 to 3"),
        (2, {"start": 1}, r"start is 1, before the prompt frame 2"),
    ],
)
def test_a_range_outside_the_video_is_refused(prompt_index: int, options: dict[str, int], message: str) -> None:
    """The error states what was asked for and which frames there are."""
    with pytest.raises(OptionError, match=message):
        run(chain(4), prompt_index=prompt_index, **options)


def test_a_prompt_of_another_size_is_refused_before_any_frame() -> None:
    """The size check needs no decoding."""
    segmenter = Segmenter(BrightnessNetwork())
    with pytest.raises(PromptError, match="10x10 pixels; allowed: 64x48"):
        next(segmenter.run(iter(()), info(WIDTH, HEIGHT), Prompt(np.ones((10, 10), np.uint8))))
