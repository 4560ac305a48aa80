"""Repair in the region around the objects: the region itself, what is refiner_keys, what stays as it is."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codec.types import CompressedFrame, FrameType, MotionField
from tests.support.masks import soft_box
from tests.support.networks import TracingRefiner
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.refiner import Refiner
from vos.propagation.propagate import Propagated
from vos.refinement.mask_refiner import BUDGETS, KEPT_KEYFRAMES, MATCHED_KEYFRAMES, MaskRefiner, RefineBudget
from vos.refinement.region import region_around


def frame(index: int, size: tuple[int, int] = (90, 130), *, seed: int = 0) -> CompressedFrame:
    """A frame whose brightness is its index, with a random residual and some cells without motion."""
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
    """Soft masks with random light features and uncertainty."""
    generator = torch.Generator().manual_seed(0)
    light = torch.rand(8, *soft.shape[1:], generator=generator)
    return Propagated(soft, light, torch.rand(*soft.shape[1:], generator=generator) * 0.5, 1.0)


@pytest.mark.parametrize("seed", range(8))
def test_a_frame_is_matched_with_the_first_and_the_nearest_key_frames(seed: int) -> None:
    """Of the key frames that are kept, the first one and those nearest in presentation order are read, never more."""
    rng = np.random.default_rng(seed)
    network = TracingRefiner()
    mask_refiner = MaskRefiner(network)
    soft = soft_box(slice(4, 8), slice(4, 8))
    kept: list[int] = []
    for index in rng.permutation(200)[:12].tolist():
        mask_refiner.add_keyframe(frame(index), soft)
        kept.append(index)
        if len(kept) > KEPT_KEYFRAMES:
            kept.pop(1)
        assert mask_refiner.keys == tuple(kept)
        asked = int(rng.integers(0, 200))
        mask_refiner.refine(frame(asked), propagated(soft))
        choices = itertools.combinations(kept[1:], min(len(kept), MATCHED_KEYFRAMES) - 1)
        best = min(sum(abs(key - asked) for key in choice) for choice in choices)
        assert network.read[0] == kept[0]
        assert set(network.read[1:]) <= set(kept[1:])
        assert len(set(network.read)) == min(len(kept), MATCHED_KEYFRAMES)
        assert sum(abs(key - asked) for key in network.read[1:]) == best


def test_a_run_that_goes_on_remembers_in_the_same_order() -> None:
    """Key frames that come again in another order stay where they were, and are all named from the start."""
    network = TracingRefiner()
    mask_refiner = MaskRefiner(network)
    mask_refiner.reserve((30, 10, 20))
    assert mask_refiner.keys == (30, 10, 20)
    for index in (10, 20, 30):
        mask_refiner.add_keyframe(frame(index), soft_box(slice(4, 8), slice(4, 8)))
    assert mask_refiner.keys == (30, 10, 20)
    mask_refiner.refine(frame(11), propagated(soft_box(slice(4, 8), slice(4, 8))))
    assert network.read == [30, 20, 10]


def test_without_an_object_nothing_is_done() -> None:
    """A key frame without an object is not refiner_keys; without object or key frame, masks stay, unseen."""
    network = TracingRefiner()
    mask_refiner = MaskRefiner(network)
    before = propagated(soft_box(slice(4, 8), slice(4, 8)))
    kept, uncertainty = mask_refiner.refine(frame(1), before)
    assert kept is before
    torch.testing.assert_close(uncertainty, before.uncertainty_per_object())
    assert not mask_refiner.add_keyframe(frame(0), torch.zeros(1, 23, 33)).any()
    assert mask_refiner.keys == ()
    mask_refiner.add_keyframe(frame(2), before.soft)
    empty = propagated(torch.zeros(1, 23, 33))
    network.seen.clear()
    assert mask_refiner.refine(frame(3), empty)[0] is empty
    assert network.seen == []


def test_cost_follows_the_region() -> None:
    """The network sees blocks around the object and not the picture, however large that is."""
    network = TracingRefiner()
    mask_refiner = MaskRefiner(network)
    soft = soft_box(slice(60, 70), slice(80, 90), (270, 480))
    mask_refiner.add_keyframe(frame(0, (1080, 1920)), soft)
    mask_refiner.refine(frame(1, (1080, 1920)), propagated(soft))
    assert network.seen == [(192, 272, 128, 128)] * 2


@pytest.mark.parametrize("place", [(slice(0, 3), slice(68, 73)), (slice(29, 32), slice(35, 38))])
def test_nothing_lies_outside_the_region(place: tuple[slice, slice]) -> None:
    """Outside the region masks are empty and uncertainty is what was propagated; inside both are new."""
    mask_refiner, grid, size = MaskRefiner(TracingRefiner()), (63, 73), (250, 290)
    before = propagated(soft_box(*place, grid))
    mask_refiner.add_keyframe(frame(0, size), before.soft)
    after, uncertainty = mask_refiner.refine(frame(1, size), before)
    region = region_around(before.soft)
    assert region is not None
    outside = torch.ones(grid, dtype=torch.bool)
    outside[region.cells] = False
    assert outside.any()
    assert not after.soft[:, outside].any()
    assert torch.equal(after.uncertainty[outside], before.uncertainty[outside])
    assert after.soft[:, ~outside].max() < 0.01
    torch.testing.assert_close(after.uncertainty[~outside], before.uncertainty[~outside] / 2)
    assert (after.light[:, ~outside] == 1).all()
    assert not after.light[:, outside].any()
    assert uncertainty.tolist() == [0.0]  # of an object that is gone there is nothing to uncertainty


@pytest.mark.parametrize(("share", "seen"), [(0.0, (64, 64)), (0.2, (128, 128)), (0.5, (192, 192))])
def test_the_thinner_objects_are_the_larger_they_are_seen(share: float, seen: tuple[int, int]) -> None:
    """How many cells an object fills in part, in the key frame nearest by, says how far its region is made smaller."""
    network = TracingRefiner()
    mask_refiner = MaskRefiner(network, budget=RefineBudget(0.0, 0.0, 64 * 64, 128 * 128))
    box = (slice(16, 36), slice(16, 36))
    shape, full = soft_box(*box, (52, 52)), soft_box(*box, (52, 52))
    cells = shape[0][box].flatten()
    cells[: round(share * len(cells))] = 0.5
    shape[0][box] = cells.view(20, 20)
    mask_refiner.add_keyframe(frame(0, (208, 208)), full)
    mask_refiner.add_keyframe(frame(8, (208, 208)), shape)
    # Blurred on its way, the propagated mask itself would count as thin.
    mask_refiner.refine(frame(5, (208, 208)), propagated(full * 0.6))
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
def test_what_is_trusted_is_not_looked_at(
    kind: FrameType, uncertainty: float, is_reference: bool, wanted: bool
) -> None:
    """With `fast`, a B frame or one that nothing refers to stays as propagated where uncertainty is low; others are refined."""
    mask_refiner = MaskRefiner(TracingRefiner(), budget=BUDGETS["fast"])
    asked = replace(frame(1), type=kind, is_reference=is_reference)
    assert mask_refiner.needs_refinement(asked, torch.tensor([0.0, uncertainty])) is wanted


@pytest.mark.parametrize("quality", ["balanced", "best"])
def test_what_others_refer_to_is_looked_at(quality: str) -> None:
    """With any other quality, B frames that others refer to are refined whatever the uncertainty."""
    mask_refiner = MaskRefiner(TracingRefiner(), budget=BUDGETS[quality])
    asked = replace(frame(1), type=FrameType.B, is_reference=True)
    assert mask_refiner.needs_refinement(asked, torch.tensor([0.0]))


@torch.inference_mode()
def test_a_region_as_large_as_the_picture_is_the_network_on_the_picture() -> None:
    """For two objects that fill it, refine is one pass of the network over the whole picture and its evidence."""
    torch.manual_seed(0)
    network = Refiner().eval()
    for layer in (network.decoder.told8, network.decoder.told4):
        nn.init.normal_(layer.weight, std=0.1)
    soft = torch.zeros(2, 16, 24)
    soft[0, 4:12, 3:10], soft[1, 5:14, 12:21] = 0.9, 0.8
    pictures = np.random.default_rng(1).integers(0, 255, (2, 64, 96, 3), dtype=np.uint8)
    plain = [frame(n, (64, 96), seed=n) for n in (0, 1)]
    key, other = (
        CompressedFrame(
            *(n, n, n, 0.0, FrameType.P, True, pictures[n, ..., 0], f.motion, f.residual, ()),
            to_rgb=lambda n=n: pictures[n],
        )
        for n, f in enumerate(plain)
    )
    mask_refiner = MaskRefiner(network)
    light = mask_refiner.add_keyframe(key, soft)
    before = propagated(soft.flip(2))
    after, uncertainty = mask_refiner.refine(other, before)

    first, second = (network.encode(torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1) for p in pictures)
    residual = np.abs(other.residual).reshape(16, 4, 24, 4).mean(axis=(1, 3)) / 64
    bare = (other.motion.reference < 0).all(axis=0)
    told = torch.stack([before.uncertainty, torch.from_numpy(residual), torch.from_numpy(bare)]).float()[None]
    logits = network.refine(
        second,
        network.memorize(first, soft[:, None]),
        before.soft[:, None],
        network.confidence(second, before.light[None]),
        told,
    )
    torch.testing.assert_close(light, first.light[0])
    torch.testing.assert_close(after.light, second.light[0])
    expected = soft_aggregate(torch.sigmoid(logits[:, 0]))[1:]
    torch.testing.assert_close(after.soft, expected, atol=0.01, rtol=0.01)
    for k in range(2):
        sure = [p for p in expected[k].flatten().tolist() if p > 0.5]
        assert uncertainty[k] == pytest.approx(min(1, 2 * (1 - sum(sure) / len(sure))) if sure else 0, abs=0.01)
    torch.testing.assert_close(after.uncertainty, before.uncertainty / 2)
