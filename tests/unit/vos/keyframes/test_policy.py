"""Key-frame policies decide on single frames."""

from __future__ import annotations

import subprocess
import sys
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
    position=3,
    latest_key=0,
    key_distance=3,
    uncertainty=0.05,
    reference_coverage=1.0,
    lost=False,
    key_count=1,
    frame_count=9,
)


def frame(kind: FrameType = FrameType.P, *, is_reference: bool = True) -> CompressedFrame:
    """A frame of which only the type and the references to it matter."""
    luma = np.zeros((8, 8), np.uint8)
    return CompressedFrame(
        3, 3, 3, 0.1, kind, is_reference, luma, MotionField.empty(2, 2), luma.astype(np.int16), (), lambda: luma
    )


@pytest.mark.parametrize(("kind", "key"), [(FrameType.I, True), (FrameType.P, True), (FrameType.B, False)])
def test_codec_policy_takes_all_frames_but_b_frames(kind: FrameType, key: bool) -> None:
    """The paper's rule: I and P frames are key frames, whatever the uncertainty."""
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
def test_every_n_takes_the_first_reference_frame_of_each_interval(
    interval: int, references: range, expected: list[int]
) -> None:
    """One frame per N is key, always a reference frame; with N = 1 every frame is."""
    policy = parse_policy(f"every:{interval}")
    keys = [0]
    for n in range(1, references.stop):
        if policy.is_key(frame(is_reference=n in references), replace(CALM, position=n, latest_key=max(keys))):
            keys.append(n)
    assert keys[1:] == expected


@pytest.mark.parametrize(
    ("change", "is_reference", "key"),
    [
        ({}, True, False),
        ({"uncertainty": 0.4}, True, True),
        ({"uncertainty": 0.4}, False, False),
        ({"uncertainty": 0.9}, False, False),
        ({"reference_coverage": 0.0}, False, True),
        ({"key_distance": 40}, True, True),
        ({"key_distance": 40}, False, False),
        ({"reference_coverage": 0.0}, True, True),
    ],
)
def test_adaptive_policy_takes_a_key_frame_where_propagation_fails(
    change: dict[str, float], is_reference: bool, key: bool
) -> None:
    """Uncertainty and a long gap make reference frames key; missing references make any frame key."""
    policy = AdaptivePolicy(max_uncertainty=0.25, longest_gap=12)
    assert policy.is_key(frame(is_reference=is_reference), replace(CALM, **change)) is key


@pytest.mark.parametrize(("lost", "distance", "key"), [(False, 4, False), (True, 3, False), (True, 4, True)])
def test_a_lost_object_shortens_the_longest_gap(lost: bool, distance: int, key: bool) -> None:
    """While an object is lost, the next key frame comes after 4 frames instead of 8."""
    policy = parse_policy("adaptive", quality="fast", refined=True)
    assert policy.is_key(frame(), replace(CALM, lost=lost, key_distance=distance)) is key


@pytest.mark.parametrize(
    ("change", "is_reference", "will_be_key"),
    [
        ({}, True, False),
        ({"uncertainty": 0.9}, True, False),
        ({"reference_coverage": 0.0}, True, False),
        ({"key_distance": 40}, True, True),
        ({"key_distance": 40}, False, False),
        ({"key_distance": 40, "key_count": 9}, True, False),
    ],
)
def test_a_future_key_frame_is_predicted_from_the_gap(
    change: dict[str, float], is_reference: bool, will_be_key: bool
) -> None:
    """The gap and the share of key frames are known in advance; uncertainty and coverage are not."""
    policy = AdaptivePolicy(max_uncertainty=0.25, longest_gap=12, max_key_share=0.5)
    assert policy.will_be_key(frame(is_reference=is_reference), replace(CALM, **change)) is will_be_key


@pytest.mark.parametrize("text", ["codec", "every:3", "every:1"])
@pytest.mark.parametrize("kind", list(FrameType))
def test_fixed_policies_predict_every_key_frame(text: str, kind: FrameType) -> None:
    """`will_be_key` and `is_key` agree for every frame."""
    policy = parse_policy(text)
    for distance in range(1, 8):
        context = replace(CALM, position=distance, key_distance=distance)
        for is_reference in (False, True):
            this = frame(kind, is_reference=is_reference)
            assert policy.will_be_key(this, context) is policy.is_key(this, context)


@pytest.mark.parametrize("text", ["", "every", "every:", "every:0", "every:-3", "every:x", "all", "Codec", "every:²"])
def test_an_unknown_policy_is_refused(text: str) -> None:
    """The message repeats what was given and lists what is allowed."""
    with pytest.raises(OptionError, match=r"allowed: adaptive, codec, every:N") as error:
        parse_policy(text)
    assert repr(text) in str(error.value)


def keys_of(policy: KeyframePolicy, seed: int) -> list[bool]:
    """Say for each frame of a long stream whether it is key; uncertainty grows at random until the next key frame."""
    rng = np.random.default_rng(seed)
    keys, uncertainty = [True], 0.0
    for n in range(1, 300):
        latest = max(i for i, key in enumerate(keys) if key)
        uncertainty = 1 - (1 - uncertainty) * (1 - rng.exponential(0.04))
        coverage = float(rng.random() > 0.01)
        context = FrameContext(n, latest, n - latest, uncertainty, coverage, False, sum(keys), n)
        this = frame(is_reference=n % 3 == 0)
        # The refiner halves the uncertainty.
        after = replace(context, uncertainty=uncertainty / 2)
        keys.append(policy.is_key(this, context) or (policy.refined and policy.is_key_after_refinement(this, after)))
        uncertainty = 0.0 if keys[-1] else uncertainty
    return keys


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_qualities_are_ordered_by_the_number_of_key_frames(refined: bool, seed: int) -> None:
    """On one stream, fast takes fewer key frames than balanced, and balanced fewer than best."""
    counts = [sum(keys_of(parse_policy("adaptive", quality=q, refined=refined), seed)) for q in QUALITIES]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.25])
def test_the_share_of_key_frames_is_never_exceeded(refined: bool, share: float) -> None:
    """At every key frame, the key frames so far are at most the share plus the allowance."""
    keys = keys_of(parse_policy("adaptive", quality="best", max_key_share=share, refined=refined), 0)
    taken = [n for n, key in enumerate(keys) if key][1:]
    assert taken
    assert all(sum(keys[: n + 1]) <= share * (n + 1) + KEYFRAME_ALLOWANCE for n in taken)


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_bounded_share_spreads_the_key_frames(quality: str) -> None:
    """In a calm stream, where only the gap makes key frames, a share of 4 % takes one key frame per 25 frames."""
    policy = parse_policy("adaptive", quality=quality, max_key_share=0.04, refined=True)
    keys = [0]
    for n in range(1, 200):
        distance = n - keys[-1]
        context = replace(
            CALM, position=n, latest_key=keys[-1], key_distance=distance, key_count=len(keys), frame_count=n
        )
        if policy.is_key(frame(), context):
            keys.append(n)
    assert keys == list(range(0, 200, 25))


@pytest.mark.parametrize(
    ("uncertainty", "is_reference", "key_count", "key"),
    [(0.2, True, 1, False), (0.3, True, 1, True), (0.9, False, 1, False), (0.6, True, 6, True), (0.6, True, 7, False)],
)
def test_after_refinement_only_uncertainty_and_share_count(
    uncertainty: float, is_reference: bool, key_count: int, key: bool
) -> None:
    """A refined frame becomes key by its uncertainty, within the share, and not by a long gap."""
    policy = AdaptivePolicy(max_uncertainty=0.25, longest_gap=4, refined=True, max_key_share=0.5)
    context = replace(CALM, uncertainty=uncertainty, key_count=key_count, key_distance=40, reference_coverage=0.0)
    assert policy.is_key_after_refinement(frame(is_reference=is_reference), context) is key


def test_with_a_refiner_propagated_uncertainty_makes_no_key_frame() -> None:
    """Before refinement, only a long gap or missing references make a frame key."""
    policy = parse_policy("adaptive", refined=True)
    assert not policy.is_key(frame(), replace(CALM, uncertainty=1.0))
    assert policy.is_key(frame(), replace(CALM, key_distance=40))
    assert policy.is_key(frame(), replace(CALM, reference_coverage=0.0))


@pytest.mark.parametrize("text", ["codec", "every:3"])
def test_refinement_does_not_change_fixed_policies(text: str) -> None:
    """Under `codec` and `every:N` no frame becomes key after refinement."""
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
def test_only_adaptive_accepts_a_share(keyframes: str) -> None:
    """A share that a policy would ignore is refused, and so is one outside its range."""
    with pytest.raises(OptionError, match="only adaptive keeps a share, and keyframes is"):
        parse_policy(keyframes, max_key_share=0.5)
    with pytest.raises(OptionError, match="max_key_share is 7; it must be above 0 and at most 1"):
        parse_policy(keyframes, max_key_share=7)


def test_the_policy_and_its_forecast_load_no_torch() -> None:
    """The API process imports both, and starts without torch."""
    code = "import sys, vos.keyframes.policy, vos.probe.forecast; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
