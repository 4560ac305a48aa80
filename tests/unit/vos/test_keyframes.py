"""Key-frame policies on single situations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codec.types import CompressedFrame, FrameType, MotionField
from vos.errors import OptionError
from vos.keyframes import AdaptivePolicy, Situation, parse_policy

CALM = Situation(from_prompt=3, latest_key=0, since_key=3, doubt=0.05, support=1.0, key_share=0.1)


def frame(kind: FrameType = FrameType.P, *, is_reference: bool = True) -> CompressedFrame:
    """A frame of which only the type matters."""
    luma = np.zeros((8, 8), np.uint8)
    return CompressedFrame(
        3, 3, 3, 0.1, kind, is_reference, luma, MotionField.empty(2, 2), luma.astype(np.int16), (), lambda: luma
    )


@pytest.mark.parametrize(("kind", "key"), [(FrameType.I, True), (FrameType.P, True), (FrameType.B, False)])
def test_codec_policy_takes_all_but_b_frames(kind: FrameType, key: bool) -> None:
    """The paper's rule: I and P frames are key, B frames never."""
    assert parse_policy("codec").is_key(frame(kind), replace(CALM, doubt=1.0)) is key


@pytest.mark.parametrize(
    ("interval", "references", "expected"),
    [
        (1, range(0, 13, 4), list(range(1, 13))),
        (4, range(13), [4, 8, 12]),
        (5, range(0, 41, 4), [8, 12, 16, 20, 28, 32, 36, 40]),
        (10, range(0, 41, 4), [12, 20, 32, 40]),
    ],
)
def test_every_n_takes_the_first_useful_frame_of_each_run(
    interval: int, references: range, expected: list[int]
) -> None:
    """One frame in N is key, on frames that others are predicted from, and with N = 1 every frame."""
    policy = parse_policy(f"every:{interval}")
    keys = [0]
    for n in range(1, references.stop):
        situation = replace(CALM, from_prompt=n, latest_key=max(keys))
        if policy.is_key(frame(is_reference=n in references), situation):
            keys.append(n)
    assert keys[1:] == expected


@pytest.mark.parametrize(
    ("change", "is_reference", "key"),
    [
        ({}, True, False),
        ({"doubt": 0.4}, True, True),
        ({"doubt": 0.4}, False, False),
        ({"doubt": 0.9}, False, True),
        ({"since_key": 40}, True, True),
        ({"since_key": 40}, False, False),
        ({"support": 0.0}, True, True),
    ],
)
def test_adaptive_policy_asks_for_a_key_when_carrying_goes_wrong(
    change: dict[str, float], is_reference: bool, key: bool
) -> None:
    """Doubt, a long gap or missing references make a key frame; frames that nothing depends on bear more doubt."""
    policy = AdaptivePolicy(reference_doubt=0.25, disposable_doubt=0.5, longest_gap=12)
    assert policy.is_key(frame(is_reference=is_reference), replace(CALM, **change)) is key


@pytest.mark.parametrize("text", ["", "every", "every:", "every:0", "every:-3", "every:x", "all", "Codec", "every:²"])
def test_an_unknown_policy_is_refused_with_the_allowed_ones(text: str) -> None:
    """The message repeats what was given and lists what is allowed."""
    with pytest.raises(OptionError, match=r"allowed: adaptive, codec, every:N") as error:
        parse_policy(text)
    assert repr(text) in str(error.value)
