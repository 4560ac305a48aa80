"""The rule that joins both directions: nearness, confidence, and exactness in prompt frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codec.types import FrameType
from service.run.directions.join import PromptDistances, Side, join, side_weight
from vos.types import FrameMask, MaskSource, Prompt, SoftMask


def mask(labels: list[list[int]], scores: dict[int, float], source: MaskSource = MaskSource.PROPAGATED) -> FrameMask:
    """A mask of frame 5."""
    return FrameMask(5, 50, 0.5, FrameType.P, source, np.array(labels, np.uint8), scores)


def test_nearness_and_confidence_weigh() -> None:
    """The nearer side counts more, a lost object counts nothing, and a prompt frame counts most."""
    assert side_weight(0.8, 2, 8) > side_weight(0.8, 8, 2)
    assert side_weight(0.9, 5, 5) > side_weight(0.8, 5, 5)
    assert side_weight(0.0, 1, 99) == 0 < side_weight(0.1, 99, 1)
    assert side_weight(0.3, 0, 50) > side_weight(1.0, 1, 50)
    assert side_weight(0.7, 3, None) == 0.7


def test_distances_are_per_object() -> None:
    """Each object counts from its own prompts; absences are prompts, too."""
    one, two = np.array([[1]], np.uint8), np.array([[2]], np.uint8)
    distances = PromptDistances([Prompt(two, 9), Prompt(one, 2), Prompt(one * 0, 6, absent=(1,))])
    assert [distances.before(i) for i in (0, 2, 5, 8, 11)] == [{}, {1: 0}, {1: 3}, {1: 2}, {1: 5, 2: 2}]
    assert [distances.after(i) for i in (0, 2, 5, 8, 11)] == [{1: 2, 2: 9}, {1: 0, 2: 7}, {1: 1, 2: 4}, {2: 1}, {}]


def test_each_object_comes_from_its_better_side() -> None:
    """Objects are chosen one by one; where they overlap, the higher weight wins."""
    forward = Side(mask([[1, 1, 0, 2]], {1: 0.9, 2: 0.1}), {1: 2, 2: 2})
    backward = Side(mask([[0, 2, 2, 1]], {1: 0.9, 2: 0.8}, MaskSource.KEY), {1: 8, 2: 8})
    joined = join(forward, backward)
    assert joined.labels.tolist() == [[1, 1, 2, 0]]
    assert joined.scores == {1: 0.9, 2: 0.8}
    assert joined.source is MaskSource.PROPAGATED


def test_soft_masks_come_with_their_objects() -> None:
    """Each object has the soft mask of the side that it is taken from; an object that was given has none."""
    ahead, back = ({n: SoftMask(np.array([[n]], np.uint8), (1, 1)) for n in (1, 2, 3)} for _ in range(2))
    forward = Side(replace(mask([[1, 1, 0, 2]], {1: 0.9, 2: 0.1}), soft=ahead), {1: 2, 2: 2})
    backward = Side(replace(mask([[0, 2, 2, 1]], {1: 0.9, 2: 0.8}), soft=back), {1: 8, 2: 8})
    assert join(forward, backward).soft == {1: ahead[1], 2: back[2]}
    given = Side(replace(mask([[1, 1, 0, 2]], {1: 1.0, 2: 0.1}, MaskSource.PROMPT), soft={2: ahead[2]}), {1: 0, 2: 2})
    assert join(given, backward).soft == {2: back[2]}
    assert join(Side(mask([[1]], {1: 0.9}), {1: 2}), None).soft is None


def test_one_side_and_unknown_objects() -> None:
    """With one side its objects count as they are, and objects that no prompt on this side marks have no pixel."""
    side = Side(mask([[1, 2, 3]], {1: 0.5, 2: 0.0}), {1: 4, 2: 4})
    for joined in (join(side, None), join(None, side)):
        assert joined.labels.tolist() == [[1, 2, 0]]
        assert joined.scores == {1: 0.5, 2: 0.0}


@pytest.mark.parametrize("source", [MaskSource.PROMPT, MaskSource.CORRECTED])
def test_a_prompt_frame_keeps_what_was_given(source: MaskSource) -> None:
    """The given object stays exactly, and the frame keeps its source, whatever the other side says."""
    forward = Side(mask([[1, 1, 2, 0]], {1: 1.0, 2: 0.2}, source), {1: 0, 2: 5})
    backward = Side(mask([[2, 0, 2, 2]], {1: 1.0, 2: 1.0}), {1: 0, 2: 1})
    joined = join(forward, backward)
    assert joined.labels.tolist() == [[1, 1, 2, 2]]
    assert joined.source is source
