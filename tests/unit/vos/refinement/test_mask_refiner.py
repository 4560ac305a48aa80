"""The refiner at work in the region around the objects, and the key frames that it keeps."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from codec.types import CompressedFrame, FrameType, MotionField
from tests.support.masks import soft_box
from tests.support.networks import TracingRefiner, random_refiner
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.refiner import RefinerFeatures
from vos.propagation.propagate import Propagated
from vos.refinement.groups import group_objects
from vos.refinement.mask_refiner import BUDGETS, KEPT_KEYFRAMES, MATCHED_KEYFRAMES, MaskRefiner, RefineBudget


def frame(index: int, size: tuple[int, int] = (90, 130), *, seed: int = 0) -> CompressedFrame:
    """Return a frame whose brightness is its index, with a random residual and some cells without motion."""
    height, width = size
    rows, columns = -(-height // 4), -(-width // 4)
    rng = np.random.default_rng(seed)
    reference = np.stack([rng.integers(-1, 1, (rows, columns)), np.full((rows, columns), -1)]).astype(np.int32)
    motion = MotionField(np.zeros((2, rows, columns, 2), np.float32), reference)
    residual = rng.integers(-80, 80, size).astype(np.int16)
    picture = np.full((height, width, 3), index, np.uint8)
    return CompressedFrame(
        index, index, index, 0.0, FrameType.P, True, picture[..., 0], motion, residual, (), lambda: picture
    )


def propagated(soft: Tensor) -> Propagated:
    """Return soft masks with random light features and uncertainty."""
    generator = torch.Generator().manual_seed(0)
    light = torch.rand(8, *soft.shape[1:], generator=generator)
    return Propagated(soft, light, torch.rand(*soft.shape[1:], generator=generator) * 0.5, 1.0)


@pytest.mark.parametrize("seed", range(8))
def test_a_frame_is_matched_with_the_first_and_the_nearest_key_frames(seed: int) -> None:
    """Of the kept key frames, the first one and the nearest ones in presentation order are read."""
    rng = np.random.default_rng(seed)
    network = TracingRefiner()
    refiner = MaskRefiner(network)
    soft = soft_box(slice(4, 8), slice(4, 8))
    kept: list[int] = []
    for index in rng.permutation(200)[:12].tolist():
        refiner.add_keyframe(frame(index), soft)
        kept.append(index)
        if len(kept) > KEPT_KEYFRAMES:
            kept.pop(1)
        assert refiner.keys == tuple(kept)
        asked = int(rng.integers(0, 200))
        refiner.refine(frame(asked), propagated(soft))
        choices = itertools.combinations(kept[1:], min(len(kept), MATCHED_KEYFRAMES) - 1)
        best = min(sum(abs(key - asked) for key in choice) for choice in choices)
        assert network.read[0] == kept[0]
        assert set(network.read[1:]) <= set(kept[1:])
        assert len(set(network.read)) == min(len(kept), MATCHED_KEYFRAMES)
        assert sum(abs(key - asked) for key in network.read[1:]) == best


def test_a_resumed_run_keeps_the_order_of_key_frames() -> None:
    """Reserved key frames keep their order, whatever the order in which they are added again."""
    network = TracingRefiner()
    refiner = MaskRefiner(network)
    refiner.reserve((30, 10, 20))
    assert refiner.keys == (30, 10, 20)
    for index in (10, 20, 30):
        refiner.add_keyframe(frame(index), soft_box(slice(4, 8), slice(4, 8)))
    assert refiner.keys == (30, 10, 20)
    refiner.refine(frame(11), propagated(soft_box(slice(4, 8), slice(4, 8))))
    assert network.read == [30, 20, 10]


def test_without_objects_nothing_is_refined() -> None:
    """A key frame without objects is not kept; without object or key frame, masks are returned as they are."""
    network = TracingRefiner()
    refiner = MaskRefiner(network)
    before = propagated(soft_box(slice(4, 8), slice(4, 8)))
    kept, uncertainty = refiner.refine(frame(1), before)
    assert kept is before
    torch.testing.assert_close(uncertainty, before.uncertainty_per_object())
    assert not refiner.add_keyframe(frame(0), torch.zeros(1, 23, 33)).any()
    assert refiner.keys == ()
    refiner.add_keyframe(frame(2), before.soft)
    empty = propagated(torch.zeros(1, 23, 33))
    network.seen.clear()
    assert refiner.refine(frame(3), empty)[0] is empty
    assert network.seen == []


def test_the_network_sees_only_the_region() -> None:
    """The network sees the region around the object, however large the picture is."""
    network = TracingRefiner()
    refiner = MaskRefiner(network)
    soft = soft_box(slice(60, 70), slice(80, 90), (270, 480))
    refiner.add_keyframe(frame(0, (1080, 1920)), soft)
    refiner.refine(frame(1, (1080, 1920)), propagated(soft))
    assert network.seen == [(192, 272, 128, 128)] * 2


@pytest.mark.parametrize("place", [(slice(0, 3), slice(68, 73)), (slice(29, 32), slice(35, 38))])
def test_nothing_lies_outside_the_region(place: tuple[slice, slice]) -> None:
    """Outside the region masks are empty and uncertainty stays as propagated; inside both are new."""
    refiner, grid, size = MaskRefiner(TracingRefiner()), (63, 73), (250, 290)
    before = propagated(soft_box(*place, grid))
    refiner.add_keyframe(frame(0, size), before.soft)
    after, uncertainty = refiner.refine(frame(1, size), before)
    (group,) = group_objects(before.soft)
    outside = torch.ones(grid, dtype=torch.bool)
    outside[group.region.cells] = False
    assert outside.any()
    assert not after.soft[:, outside].any()
    assert torch.equal(after.uncertainty[outside], before.uncertainty[outside])
    assert after.soft[:, ~outside].max() < 0.01
    torch.testing.assert_close(after.uncertainty[~outside], before.uncertainty[~outside] / 2)
    assert (after.light[:, ~outside] == 1).all()
    assert not after.light[:, outside].any()
    assert uncertainty.tolist() == [0.0]  # an absent object has none


def test_far_objects_are_seen_in_regions_of_their_own() -> None:
    """The network sees a region around each of two objects in opposite corners, not the picture between them."""
    network = TracingRefiner()
    refiner = MaskRefiner(network)
    places = (slice(10, 20), slice(20, 30)), (slice(240, 250), slice(440, 450))
    soft = torch.cat([soft_box(*place, (270, 480)) for place in places])
    refiner.add_keyframe(frame(0, (1080, 1920)), soft)
    refiner.refine(frame(1, (1080, 1920)), propagated(soft))
    assert network.seen == [(0, 32, 128, 128), (912, 1712, 128, 128)] * 2


@pytest.mark.parametrize(("share", "seen"), [(0.0, (64, 64)), (0.2, (128, 128)), (0.5, (192, 192))])
def test_thin_objects_are_seen_at_higher_resolution(share: float, seen: tuple[int, int]) -> None:
    """The edge share in the nearest key frame decides how far a region is scaled down."""
    network = TracingRefiner()
    refiner = MaskRefiner(network, budget=RefineBudget(0.0, 0.0, 64 * 64, 128 * 128))
    box = (slice(16, 36), slice(16, 36))
    shape, full = soft_box(*box, (52, 52)), soft_box(*box, (52, 52))
    cells = shape[0][box].flatten()
    cells[: round(share * len(cells))] = 0.5
    shape[0][box] = cells.view(20, 20)
    refiner.add_keyframe(frame(0, (208, 208)), full)
    refiner.add_keyframe(frame(8, (208, 208)), shape)
    # The propagated mask itself is blurred and would count as thin.
    refiner.refine(frame(5, (208, 208)), propagated(full * 0.6))
    assert [place[2:] for place in network.seen] == [(64, 64), seen, seen]


@pytest.mark.parametrize(
    ("kind", "uncertainty", "is_reference", "wanted"),
    [
        (FrameType.B, 0.15, False, False),
        (FrameType.B, 0.25, False, True),
        (FrameType.B, 0.05, True, False),
        (FrameType.B, 0.15, True, True),
        (FrameType.P, 0.15, False, False),
        (FrameType.P, 0.0, True, True),
        (FrameType.I, 0.0, True, True),
    ],
)
def test_frames_of_low_uncertainty_are_not_refined(
    kind: FrameType, uncertainty: float, is_reference: bool, wanted: bool
) -> None:
    """With `fast`, B frames and non-reference frames below their uncertainty are not refined; all others are."""
    refiner = MaskRefiner(TracingRefiner(), budget=BUDGETS["fast"])
    asked = replace(frame(1), type=kind, is_reference=is_reference)
    assert refiner.needs_refinement(asked, torch.tensor([0.0, uncertainty])) is wanted


@pytest.mark.parametrize("quality", ["balanced", "best"])
def test_reference_frames_are_always_refined(quality: str) -> None:
    """With any other quality, B frames that are references are refined whatever their uncertainty."""
    refiner = MaskRefiner(TracingRefiner(), budget=BUDGETS[quality])
    asked = replace(frame(1), type=FrameType.B, is_reference=True)
    assert refiner.needs_refinement(asked, torch.tensor([0.0]))


def pictured(index: int, picture: np.ndarray[Any, np.dtype[np.uint8]]) -> CompressedFrame:
    """Return a frame with this picture, uint8 [height, width, 3]."""
    height, width = picture.shape[:2]
    plain = frame(index, (height, width), seed=index)
    return replace(plain, luma=picture[..., 0], to_rgb=lambda: picture)


@torch.inference_mode()
def test_far_objects_are_refined_as_if_each_were_alone() -> None:
    """Where matches are near, an object far from another is refined as in a run that knows only this object."""
    network = random_refiner()
    network.nearness.fill_(100.0)
    pictures = np.random.default_rng(1).integers(0, 255, (2, 128, 800, 3), dtype=np.uint8)
    key, other = (pictured(n, pictures[n]) for n in (0, 1))
    soft = torch.cat([soft_box(slice(8, 20), slice(left, left + 12), (32, 200)) * 0.9 for left in (12, 180)])
    both = MaskRefiner(network)
    light = both.add_keyframe(key, soft)
    before = propagated(soft)
    after, uncertainty = both.refine(other, before)
    for k in range(2):
        alone = MaskRefiner(network)
        own_light = alone.add_keyframe(key, soft[k : k + 1])
        expected, expected_uncertainty = alone.refine(other, replace(before, soft=soft[k : k + 1]))
        torch.testing.assert_close(after.soft[k], expected.soft[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(uncertainty[k], expected_uncertainty[0], atol=1e-4, rtol=1e-4)
        (group,) = group_objects(soft[k : k + 1])
        assert torch.equal(light[:, *group.region.cells], own_light[:, *group.region.cells])
        assert torch.equal(after.light[:, *group.region.cells], expected.light[:, *group.region.cells])
        assert torch.equal(after.uncertainty[group.region.cells], expected.uncertainty[group.region.cells])


@torch.inference_mode()
def test_an_object_is_decoded_only_around_itself() -> None:
    """In a shared region, each object is decoded in the part around it, and is absent from the rest."""
    network = random_refiner()
    pictures = np.random.default_rng(1).integers(0, 255, (2, 128, 256, 3), dtype=np.uint8)
    key, other = (pictured(n, pictures[n]) for n in (0, 1))
    soft = torch.cat([soft_box(slice(8, 20), slice(left, left + 12), (32, 64)) * 0.9 for left in (10, 36)])
    refiner = MaskRefiner(network)
    refiner.add_keyframe(key, soft)
    before = propagated(soft)
    after, _ = refiner.refine(other, before)

    (group,) = group_objects(soft)
    assert (group.region.height, group.region.width) == (128, 256)  # the whole picture
    first, second = (network.encode(torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1) for p in pictures)
    memory = network.memorize(first, soft[:, None])
    residual = np.abs(other.residual).reshape(32, 4, 64, 4).mean(axis=(1, 3)).round() / 64
    intra = (other.motion.reference < 0).all(axis=0)
    bitstream = torch.stack([before.uncertainty, torch.from_numpy(residual), torch.from_numpy(intra)]).float()[None]
    confidence = network.confidence(second, before.light[None])
    logits = torch.full((2, 32, 64), -20.0)
    for k, (start, end) in enumerate(((0, 32), (24, 56))):
        maps = {stride: m[..., start * 4 // stride : end * 4 // stride] for stride, m in second.maps.items()}
        part = RefinerFeatures(maps, second.key[..., start // 4 : end // 4], second.light)
        around, bits = soft[:, None, :, start:end], bitstream[..., start:end]
        logits[k, :, start:end] = network.refine(part, memory, around, confidence[..., start:end], bits)[k, 0]
    expected = soft_aggregate(torch.sigmoid(logits))[1:]
    torch.testing.assert_close(after.soft, expected, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_refining_the_whole_picture_is_one_pass_of_the_network() -> None:
    """For two objects that fill the picture, refining is one pass of the network over the whole picture."""
    network = random_refiner()
    soft = torch.zeros(2, 16, 24)
    soft[0, 4:12, 3:10], soft[1, 5:14, 12:21] = 0.9, 0.8
    pictures = np.random.default_rng(1).integers(0, 255, (2, 64, 96, 3), dtype=np.uint8)
    key, other = (pictured(n, pictures[n]) for n in (0, 1))
    refiner = MaskRefiner(network)
    light = refiner.add_keyframe(key, soft)
    before = propagated(soft.flip(2))
    after, uncertainty = refiner.refine(other, before)

    first, second = (network.encode(torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1) for p in pictures)
    residual = np.abs(other.residual).reshape(16, 4, 24, 4).mean(axis=(1, 3)) / 64
    intra = (other.motion.reference < 0).all(axis=0)
    bitstream = torch.stack([before.uncertainty, torch.from_numpy(residual), torch.from_numpy(intra)]).float()[None]
    logits = network.refine(
        second,
        network.memorize(first, soft[:, None]),
        before.soft[:, None],
        network.confidence(second, before.light[None]),
        bitstream,
    )
    torch.testing.assert_close(light, first.light[0])
    torch.testing.assert_close(after.light, second.light[0])
    expected = soft_aggregate(torch.sigmoid(logits[:, 0]))[1:]
    torch.testing.assert_close(after.soft, expected, atol=0.01, rtol=0.01)
    for k in range(2):
        sure = [p for p in expected[k].flatten().tolist() if p > 0.5]
        assert uncertainty[k] == pytest.approx(min(1, 2 * (1 - sum(sure) / len(sure))) if sure else 0, abs=0.01)
    torch.testing.assert_close(after.uncertainty, before.uncertainty / 2)
