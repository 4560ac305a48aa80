"""Prompts on any frame, propagated both ways, on a square whose true masks are known."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codec.types import UInt8Array
from service.errors import UsageError
from service.prompts.shapes import parse_shapes
from service.run.directions.given import Given
from service.run.options import RunOptions
from service.run.segment import segment
from service.run.source.video_input import Video
from service.writers.soft import in_display_size
from tests.support.frames import assert_same, stored
from tests.support.squares import coded, iou, load_brightness, moving_square, true_masks
from vos.errors import OptionError, PromptError
from vos.runtime.run_state import RunState
from vos.types import FrameMask, MaskSource

COUNT = 24


def masks(video: Video, prompt: Given, *, keyframes: str = "every:1000", **options: object) -> list[FrameMask]:
    """All masks of a run, whose motion is equally good in both directions."""
    with segment(video, prompt, RunOptions(motion="proxy", **options), load=load_brightness(keyframes)) as run:
        return list(run)


def overlaps(found: Iterable[FrameMask], truth: UInt8Array) -> list[float]:
    """Intersection over union per frame."""
    return [iou(mask.labels, truth[mask.index]) for mask in found]


@pytest.fixture(scope="module")
def clip() -> bytes:
    """The square, in one group of pictures."""
    return coded(moving_square(COUNT), keyint=1000, bframes=0, crf=8)


def test_masks_follow_the_square_backwards(clip: bytes) -> None:
    """Every frame before the prompt has a mask on the square, and those after it are as without the walk back."""
    truth = true_masks(COUNT)
    found = masks(clip, {14: truth[14]}, direction="both")
    assert [mask.index for mask in found] == list(range(COUNT))
    assert min(overlaps(found, truth)) > 0.8
    assert [mask.source for mask in found].count(MaskSource.PROMPT) == 1
    assert_same(found[14:], masks(clip, truth[14], prompt_frame=14))
    times = [mask.time for mask in masks(clip, truth[0])]
    assert [mask.time for mask in found] == pytest.approx(times)


def test_soft_masks_of_both_directions_agree_with_the_masks(clip: bytes) -> None:
    """Where an object is likelier than not is where its mask is, in every frame; given masks are exact."""
    truth = true_masks(COUNT)
    options = RunOptions(motion="proxy", direction="both", edges="raw", soft=True)
    with segment(clip, {4: truth[4], 18: truth[18]}, options, load=load_brightness()) as run:
        for mask in run:
            likely = in_display_size(mask, 1, run.info) > 127
            assert iou(likely, mask.labels) > 0.9
            if mask.index in (4, 18):
                assert np.array_equal(likely, truth[mask.index] > 0)


@pytest.mark.parametrize(
    "make", [io.BytesIO, lambda _: moving_square(COUNT), lambda _: list], ids=["file", "array", "pngs"]
)
def test_files_and_pictures(make: object, clip: bytes, tmp_path: Path) -> None:
    """File objects are read by one reader at a time, and pictures simply run backwards."""
    truth = true_masks(COUNT)
    video = make(clip)  # type: ignore[operator]
    if video is list:
        for index, picture in enumerate(moving_square(COUNT)):
            Image.fromarray(picture).save(tmp_path / f"{index:05d}.png")
        video = tmp_path
    found = masks(video, {16: truth[16]}, direction="both")
    assert [mask.index for mask in found] == list(range(COUNT))
    assert min(overlaps(found, truth)) > 0.75


@pytest.mark.parametrize(("start", "end"), [(3, None), (None, 9), (5, 8), (0, 14), (18, 20), (2, 17)])
def test_any_range(start: int | None, end: int | None, clip: bytes) -> None:
    """Frames before the prompt may be the whole output; the masks are those of the whole run."""
    truth = true_masks(COUNT)
    whole = masks(clip, {14: truth[14]}, direction="both")
    assert_same(masks(clip, {14: truth[14]}, direction="both", start=start, end=end), whole[slice(start, end)])


def test_several_prompts_forwards(clip: bytes) -> None:
    """Each prompt frame is exactly as given, objects begin where they are marked, and statistics count all frames."""
    truth = true_masks(COUNT)
    other = np.zeros_like(truth[0])
    other[50:60, 100:120] = 2
    prompts: Given = {4: truth[4], 12: other}
    with segment(clip, prompts, RunOptions(motion="proxy"), load=load_brightness()) as run:
        found = list(run)
        assert [item.object for item in run.prompt.objects] == [1, 2]
        assert run.stats.frames[MaskSource.PROMPT] == 2
        assert run.stats.total == run.stats.segmented == COUNT - 4
        assert run.report({"write": 0, "total": 1}).to_json()["options"]["direction"] == "forward"
    assert [mask.index for mask in found] == list(range(4, COUNT))
    assert np.array_equal(found[0].labels, truth[4])
    assert np.array_equal(found[8].labels == 2, other == 2)
    assert [2 in mask.labels for mask in found[:9]] == [False] * 8 + [True]
    assert min(overlaps(found, truth)) > 0.8


def test_a_prompt_in_the_middle_is_respected_both_ways(clip: bytes) -> None:
    """A correction in the middle is exact there, and moves on to both sides up to the next prompts."""
    truth = true_masks(COUNT)
    half = truth[12].copy()
    half[32:] = 0
    found = masks(clip, {0: truth[0], 12: half, 23: truth[23]}, direction="both")
    assert np.array_equal(found[12].labels, half)
    upper = truth.copy()
    upper[:, 32:] = 0
    for near in (10, 11, 13, 14):
        assert iou(found[near].labels, upper[near]) > 0.75
    for far in (1, 2, 21, 22):
        assert iou(found[far].labels, truth[far]) > 0.8


def test_an_occlusion_is_never_worse_than_the_worse_side() -> None:
    """Behind a wall each direction loses the square; joined, the masks before and after it are right."""
    truth = true_masks(COUNT, wall=True)
    video = coded(moving_square(COUNT, wall=True), keyint=1000)
    forward = overlaps(masks(video, {0: truth[0]}), truth)
    backward = overlaps(masks(video, {COUNT - 1: truth[-1]}, direction="both"), truth)
    joined = overlaps(masks(video, {0: truth[0], COUNT - 1: truth[-1]}, direction="both"), truth)
    assert min(forward[-4:-1]) < 0.3
    assert min(backward[1:4]) < 0.3
    assert all(both >= min(one, other) for both, one, other in zip(joined, forward, backward, strict=True))
    assert np.mean(joined) > max(np.mean(forward), np.mean(backward)) + 0.1
    assert min(joined[:5] + joined[-5:]) > 0.8


@pytest.mark.parametrize("prompts", [(9,), (2, 15), (0, 6, 20)])
def test_a_run_can_be_resumed_after_every_mask(prompts: tuple[int, ...], clip: bytes, tmp_path: Path) -> None:
    """The rest of the masks and the statistics are those of an uninterrupted run."""
    truth = true_masks(COUNT)
    given = {index: truth[index] for index in prompts}
    options = RunOptions(direction="both", end=22)

    def run(state: RunState | None, count: int | None) -> tuple[list[FrameMask], RunState | None, object]:
        with segment(clip, given, options, load=load_brightness("every:5")) as run:
            if state is not None:
                run.resume(state)
            found = list(islice(run, count))
            return found, run.state, run.stats.frames

    whole, _, frames = run(None, None)
    assert sum(frames.values()) == 22
    for cut in (1, prompts[0] + 1, 16):
        first, state, _ = run(None, cut)
        assert (state is None) == (cut <= prompts[0])
        if state is not None:
            rest, _, counted = run(stored(state, tmp_path), None)
            assert_same(first + rest, whole)
            assert counted == frames


def test_shapes_on_several_frames_and_absent_objects(clip: bytes) -> None:
    """JSON marks objects in several frames; where one is absent it has no pixel from there on, on both sides."""
    text = (
        '[{"frame":6,"object":1,"label":"square","box":[28,20,24,24]},'
        '{"frame":16,"object":1,"absent":true},{"frame":16,"object":4,"box":[100,50,20,10]}]'
    )
    with segment(clip, parse_shapes(text, several=True), RunOptions(direction="both"), load=load_brightness()) as run:
        found = list(run)
        assert run.options.prompt_frame == 6
        assert run.options.labels == {1: "square"}
        assert run.object_ids == (1, 4)
    truth = true_masks(COUNT)
    assert min(overlaps(found[:9], truth)) > 0.6
    assert not any((mask.labels == 1).any() for mask in found[16:])
    assert all(
        (mask.labels == 4).any() for mask in found[7:]
    )  # in frame 6 the network, which sees brightness, loses it


def test_colors_keep_their_objects(clip: bytes) -> None:
    """Colors are numbered per picture; a color of an earlier prompt keeps its number."""

    def drawn(*colors: tuple[int, int, int]) -> UInt8Array:
        picture = np.zeros((64, 128, 3), np.uint8)
        for place, color in enumerate(colors):
            picture[8:30, 8 + 40 * place : 30 + 40 * place] = color
        return picture

    red, green, blue = (250, 0, 10), (10, 250, 0), (0, 10, 250)
    with segment(clip, {0: drawn(red, green), 5: drawn(blue, red)}, load=load_brightness()) as run:
        colors = {item.object: item.color for item in run.prompt.objects}
        assert {color: number for number, color in colors.items()}.keys() == {"#fa000a", "#0afa00", "#000afa"}
        found = list(run)
    number = {color: number for number, color in colors.items()}
    assert (found[5].labels[8:30, 8:30] == number["#000afa"]).all()
    assert (found[5].labels[8:30, 48:70] == number["#fa000a"]).all()


@pytest.mark.parametrize(
    ("prompts", "options", "error", "said"),
    [
        ({3: 0, 40: 0}, {}, OptionError, "prompt frame is 40; the video has 24 frames"),
        ({-1: 0}, {}, OptionError, "prompt frame is -1"),
        ({}, {}, UsageError, "there are no prompts"),
        ({3: 0}, {"prompt_frame": 1}, UsageError, "the first prompt is on frame 3, but prompt_frame is 1"),
        ({5: 0, 8: 0}, {"start": 2}, OptionError, "start is 2, before the prompt frame 5"),
        ({5: None}, {}, PromptError, "marks no object"),
    ],
)
def test_bad_prompts(
    prompts: dict[int, int | None], options: dict[str, int], error: type[Exception], said: str, clip: bytes
) -> None:
    """Each error says what was given and what is allowed."""
    truth = true_masks(COUNT)
    given = {index: truth[0] if value == 0 else np.zeros_like(truth[0]) for index, value in prompts.items()}
    with pytest.raises(error, match=said):
        masks(clip, given, **options)


def test_steps_count_both_directions(clip: bytes) -> None:
    """Progress counts the frames of the walk back, which come before the first mask."""
    truth, seen = true_masks(COUNT), []
    options = RunOptions(direction="both")
    with segment(
        clip, {10: truth[10]}, options, load=load_brightness(), on_frame=lambda _: seen.append(run.steps)
    ) as run:
        assert run.walks_back
        list(run)
    assert [done for done, _ in seen] == list(range(1, 11 + COUNT + 1))
    assert {total for _, total in seen} == {11 + COUNT}
