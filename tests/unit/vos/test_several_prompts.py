"""Several prompts in one session: respected exactly, followed by the frames after them, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from codec.types import CompressedFrame
from tests.support.frames import HEIGHT, STEP, WIDTH, assert_same, chain, info, pyramid, stored, truth
from tests.support.networks import BrightnessNetwork, MemoryNetwork, random_refiner
from vos.errors import OptionError, PromptError
from vos.runtime.waves import in_prompt_order
from vos.segmenter import Segmenter
from vos.types import FrameMask, MaskSource, Options, Prompt


def only(index: int, *objects: int) -> np.ndarray:
    """The true labels of some objects."""
    labels = truth(index)
    return np.where(np.isin(labels, objects), labels, 0).astype(np.uint8)


def small(index: int) -> np.ndarray:
    """A mask of object 1 that is half as high as the true one, so that what comes from it is recognized."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:16, 4 + STEP * index : 20 + STEP * index] = 1
    return labels


def run(frames: Sequence[CompressedFrame], *prompts: Prompt, **options: object) -> list[FrameMask]:
    """All masks of a run that takes no key frame, so masks come from prompts along the vectors alone."""
    segmenter = Segmenter(BrightnessNetwork(), Options(**({"keyframes": "every:100"} | options)))
    return list(segmenter.run(frames, info(WIDTH, HEIGHT), prompts[0], later=prompts[1:]))


def area(mask: FrameMask, number: int) -> int:
    """Pixels of an object."""
    return int((mask.labels == number).sum())


def test_a_later_prompt_is_respected_and_travels() -> None:
    """The given object is exactly as given, its correction moves on, and the other object stays as it was."""
    masks = run(chain(9), Prompt(truth(0)), Prompt(small(4), 4))
    assert [mask.source for mask in masks if mask.source is MaskSource.PROMPT] == [MaskSource.PROMPT] * 2
    for index, mask in enumerate(masks):
        wanted = small(index) if index >= 4 else only(index, 1)
        found = mask.labels == 1
        assert np.array_equal(found, wanted == 1) if index == 4 else (found & (wanted == 1)).sum() > 0.9 * found.sum()
        assert ((mask.labels == 2) & (truth(index) == 2)).sum() > 0.9 * (truth(index) == 2).sum()


@pytest.mark.parametrize("given", [1, 2, 4])
def test_a_prompt_on_a_b_frame_reaches_the_frames_after_it(given: int) -> None:
    """Frames decoded before the prompt frame but shown after it do not keep the masks that it corrects."""
    masks = run(pyramid(), Prompt(truth(0)), Prompt(small(given), given), keyframes="adaptive")
    assert np.array_equal(masks[given].labels == 1, small(given) == 1)
    plain = run(pyramid(), Prompt(truth(0)), keyframes="adaptive")
    assert sum(mask.source is MaskSource.KEY for mask in masks) > sum(mask.source is MaskSource.KEY for mask in plain)
    assert [mask.index for mask in masks] == list(range(7))


def test_objects_begin_and_end_with_prompts() -> None:
    """An object has no pixel and no score before its first prompt, and no pixel from a frame on where it is absent."""
    end = Prompt(np.zeros((HEIGHT, WIDTH), np.uint8), 6, absent=(2,), source=MaskSource.CORRECTED)
    masks = run(chain(9), Prompt(only(0, 1)), Prompt(only(3, 2), 3), end)
    assert [area(mask, 2) > 0 for mask in masks] == [False] * 3 + [True] * 3 + [False] * 3
    assert [sorted(mask.scores) for mask in masks] == [[1]] * 3 + [[1, 2]] * 6
    assert min(area(mask, 1) for mask in masks) > 200
    assert masks[6].source is MaskSource.CORRECTED
    assert masks[6].scores[2] == 0


def test_bad_prompts_are_refused() -> None:
    """Each error says which object or frame is wrong."""
    with pytest.raises(PromptError, match="object 7 is absent in frame 3, but no prompt marks it"):
        run(chain(5), Prompt(truth(0)), Prompt(truth(3), 3, absent=(7,)))
    with pytest.raises(PromptError, match="object 1 is both marked and absent in frame 3"):
        Prompt(truth(3), 3, absent=(1,))
    with pytest.raises(OptionError, match="a prompt frame is 20; the last frame is 4"):
        run(chain(5), Prompt(truth(0)), Prompt(truth(3), 20))


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("refined", [False, True])
def test_runs_with_several_prompts_can_be_interrupted_after_every_mask(
    first: int, refined: bool, tmp_path: Path
) -> None:
    """Stopping after every single mask changes nothing, with corrections, a new object and partly given frames."""
    refiner = random_refiner() if refined else None
    options, prompt = Options(keyframes="every:2"), Prompt(only(first, 1), first)
    later = (Prompt(only(4, 1, 2), 4), Prompt(only(5, 2), 5))

    def run(state: object, count: int | None) -> tuple[list[FrameMask], Segmenter]:
        segmenter = Segmenter(MemoryNetwork(), options, refiner)
        masks = segmenter.run(pyramid(), info(64, 48), prompt, state, later=later)
        return list(islice(masks, count)), segmenter

    whole, _ = run(None, None)
    state, masks = None, []
    for _ in whole:
        found, segmenter = run(state, 1)
        masks += found
        state = stored(segmenter.state, tmp_path)
    assert_same(masks, whole)


@pytest.mark.parametrize("prompts", [(0,), (2,), (2, 4), (1, 2, 3), (5, 9)])
def test_prompt_order(prompts: tuple[int, ...]) -> None:
    """No frame shown after a prompt frame comes before it, and references stay while they are needed."""
    stream = pyramid()
    for n, frame in enumerate(stream):
        needed = {i for later in stream[n + 1 :] for i in later.motion.references if i <= n}
        stream[n] = replace(frame, available_references=tuple(needed))
    frames = list(in_prompt_order(stream, prompts))
    order = [frame.index for frame in frames]
    assert sorted(order) == list(range(7))
    for prompt in set(prompts) & set(order):
        assert all(order.index(i) > order.index(prompt) for i in order if i > prompt)
    for position, frame in enumerate(frames):
        for later in frames[position + 1 :]:
            came = [i for i in later.motion.references if any(f.decode_index == i for f in frames[: position + 1])]
            assert set(came) <= set(frame.available_references)
