"""Key-frame policies on single situations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codec.types import CompressedFrame, FrameType, MotionField
from vos.errors import OptionError
from vos.keyframes.policy import (
    KEYFRAME_ALLOWANCE,
    QUALITIES,
    AdaptivePolicy,
    FrameContext,
    KeyframePolicy,
    parse_policy,
)

CALM = FrameContext(
    from_prompt=3,
    latest_key=0,
    since_key=3,
    uncertainty=0.05,
    reference_coverage=1.0,
    lost=False,
    key_count=1,
    frame_count=9,
)


def frame(kind: FrameType = FrameType.P, *, is_reference: bool = True) -> CompressedFrame:
    """A frame of which only the type matters."""
    luma = np.zeros((8, 8), np.uint8)
    return CompressedFrame(
        3, 3, 3, 0.1, kind, is_reference, luma, MotionField.empty(2, 2), luma.astype(np.int16), (), lambda: luma
    )


@pytest.mark.parametrize(("kind", "key"), [(FrameType.I, True), (FrameType.P, True), (FrameType.B, False)])
def test_codec_policy_takes_all_but_b_frames(kind: FrameType, key: bool) -> None:
    """The paper's rule: I and P frames are key, B frames never."""
    assert parse_policy("codec").is_key(frame(kind), replace(CALM, uncertainty=1.0)) is key


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
        context = replace(CALM, from_prompt=n, latest_key=max(keys))
        if policy.is_key(frame(is_reference=n in references), context):
            keys.append(n)
    assert keys[1:] == expected


@pytest.mark.parametrize(
    ("change", "is_reference", "key"),
    [
        ({}, True, False),
        ({"uncertainty": 0.4}, True, True),
        ({"uncertainty": 0.4}, False, False),
        ({"uncertainty": 0.9}, False, True),
        ({"since_key": 40}, True, True),
        ({"since_key": 40}, False, False),
        ({"reference_coverage": 0.0}, True, True),
    ],
)
def test_adaptive_policy_asks_for_a_key_when_carrying_goes_wrong(
    change: dict[str, float], is_reference: bool, key: bool
) -> None:
    """Doubt, a long gap or missing references make a key frame; frames that nothing depends on bear more uncertainty."""
    policy = AdaptivePolicy(reference_uncertainty=0.25, disposable_uncertainty=0.5, longest_gap=12)
    assert policy.is_key(frame(is_reference=is_reference), replace(CALM, **change)) is key


@pytest.mark.parametrize(
    ("change", "is_reference", "due"),
    [
        ({}, True, False),
        ({"uncertainty": 0.9}, True, False),
        ({"reference_coverage": 0.0}, True, False),
        ({"since_key": 40}, True, True),
        ({"since_key": 40}, False, False),
        ({"since_key": 40, "key_count": 9}, True, False),
    ],
)
def test_a_key_frame_is_due_when_the_last_one_is_far(change: dict[str, float], is_reference: bool, due: bool) -> None:
    """What is not known before masks are propagated does not count, the share of key frames does."""
    policy = AdaptivePolicy(reference_uncertainty=0.25, disposable_uncertainty=0.5, longest_gap=12, max_key_share=0.5)
    assert policy.will_be_key(frame(is_reference=is_reference), replace(CALM, **change)) is due


@pytest.mark.parametrize("text", ["codec", "every:3", "every:1"])
@pytest.mark.parametrize("kind", list(FrameType))
def test_fixed_key_frames_are_always_known(text: str, kind: FrameType) -> None:
    """A frame is due with a fixed policy just when it is key, wherever it lies."""
    policy = parse_policy(text)
    for distance in range(1, 8):
        context = replace(CALM, from_prompt=distance, since_key=distance)
        for is_reference in (False, True):
            this = frame(kind, is_reference=is_reference)
            assert policy.will_be_key(this, context) is policy.is_key(this, context)


@pytest.mark.parametrize("text", ["", "every", "every:", "every:0", "every:-3", "every:x", "all", "Codec", "every:²"])
def test_an_unknown_policy_is_refused_with_the_allowed_ones(text: str) -> None:
    """The message repeats what was given and lists what is allowed."""
    with pytest.raises(OptionError, match=r"allowed: adaptive, codec, every:N") as error:
        parse_policy(text)
    assert repr(text) in str(error.value)


def keys_of(policy: KeyframePolicy, seed: int) -> list[bool]:
    """Which frames of a long stream are key, where uncertainty gathers from one key frame to the next at random."""
    rng = np.random.default_rng(seed)
    keys, uncertainty = [True], 0.0
    for n in range(1, 300):
        latest = max(i for i, key in enumerate(keys) if key)
        uncertainty = 1 - (1 - uncertainty) * (1 - rng.exponential(0.04))
        context = FrameContext(n, latest, n - latest, uncertainty, float(rng.random() > 0.01), False, sum(keys), n)
        this = frame(is_reference=n % 3 == 0)
        # A refiner gives another uncertainty, which here is half of what was propagated.
        after = replace(context, uncertainty=uncertainty / 2)
        keys.append(policy.is_key(this, context) or (policy.refined and policy.is_key_after_refinement(this, after)))
        uncertainty = 0.0 if keys[-1] else uncertainty
    return keys


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_quality_dial_orders_the_number_of_key_frames(refined: bool, seed: int) -> None:
    """On one stream, fast takes fewer key frames than balanced, and balanced fewer than best."""
    counts = [sum(keys_of(parse_policy("adaptive", quality=q, refined=refined), seed)) for q in QUALITIES]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.25])
def test_the_share_of_key_frames_is_never_exceeded(refined: bool, share: float) -> None:
    """Whenever a key frame is taken, the key frames up to then are at most the given share and the credit."""
    keys = keys_of(parse_policy("adaptive", quality="best", max_key_share=share, refined=refined), 0)
    taken = [n for n, key in enumerate(keys) if key][1:]
    assert taken
    assert all(sum(keys[: n + 1]) <= share * (n + 1) + KEYFRAME_ALLOWANCE for n in taken)


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_bound_spreads_the_key_frames(quality: str) -> None:
    """In a calm stream, where only the gap makes key frames, a share of 4 % comes as a key frame every 25 frames."""
    policy = parse_policy("adaptive", quality=quality, max_key_share=0.04, refined=True)
    keys = [0]
    for n in range(1, 200):
        context = replace(
            CALM, from_prompt=n, latest_key=keys[-1], since_key=n - keys[-1], key_count=len(keys), frame_count=n
        )
        if policy.is_key(frame(), context):
            keys.append(n)
    assert keys == list(range(0, 200, 25))


@pytest.mark.parametrize(
    ("uncertainty", "is_reference", "key_count", "key"),
    [(0.3, True, 1, True), (0.3, False, 1, False), (0.6, False, 1, True), (0.6, True, 6, True), (0.6, True, 7, False)],
)
def test_after_repair_only_doubt_and_share_count(
    uncertainty: float, is_reference: bool, key_count: int, key: bool
) -> None:
    """A refined frame is key when its uncertainty passes the limit of its kind, not for a long gap, and within the share."""
    policy = AdaptivePolicy(
        reference_uncertainty=0.25, disposable_uncertainty=0.5, longest_gap=4, refined=True, max_key_share=0.5
    )
    context = replace(CALM, uncertainty=uncertainty, key_count=key_count, since_key=40, reference_coverage=0.0)
    assert policy.is_key_after_refinement(frame(is_reference=is_reference), context) is key


def test_with_a_refiner_carried_doubt_alone_makes_no_key_frame() -> None:
    """Before the refiner has looked, only a long gap or missing references make a key frame."""
    policy = parse_policy("adaptive", refined=True)
    assert not policy.is_key(frame(), replace(CALM, uncertainty=1.0))
    assert policy.is_key(frame(), replace(CALM, since_key=40))
    assert policy.is_key(frame(), replace(CALM, reference_coverage=0.0))


@pytest.mark.parametrize("text", ["codec", "every:3"])
def test_fixed_policies_stay_fixed_after_repair(text: str) -> None:
    """What `codec` and `every:N` decided, no uncertainty about a refine changes."""
    assert not parse_policy(text).is_key_after_refinement(frame(), replace(CALM, uncertainty=1.0))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan")])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    """The share must be above 0 and at most 1."""
    with pytest.raises(OptionError, match="must be above 0 and at most 1"):
        parse_policy("adaptive", max_key_share=share)


def test_an_unknown_quality_is_refused() -> None:
    """The message repeats what was given and lists what is allowed."""
    with pytest.raises(OptionError, match="quality is 'good'; allowed: fast, balanced, best"):
        parse_policy("adaptive", quality="good")


@pytest.mark.parametrize("keyframes", ["codec", "every:3"])
def test_only_adaptive_keeps_a_share(keyframes: str) -> None:
    """A bound that a policy would not keep is refused, and so is one that is none."""
    with pytest.raises(OptionError, match="only adaptive keeps a share, and keyframes is"):
        parse_policy(keyframes, max_key_share=0.5)
    with pytest.raises(OptionError, match="max_key_share is 7; it must be above 0 and at most 1"):
        parse_policy(keyframes, max_key_share=7)


# ruff: noqa: E501
