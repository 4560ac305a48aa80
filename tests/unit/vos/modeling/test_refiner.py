"""The refiner's network: shapes, objects and pictures that do not disturb each other, matching by place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.support.masks import bars, picture
from vos.modeling.compact import CompactNetwork
from vos.modeling.network import Memory
from vos.modeling.refiner import Refiner

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture
def refiner() -> Refiner:
    """The network with seeded random weights; the layers for evidence, which start at zero, get some too."""
    torch.manual_seed(0)
    network = Refiner().eval().requires_grad_(False)
    for layer in (network.decoder.told8, network.decoder.told4):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return network


def small(masks: Tensor) -> Tensor:
    """Masks [N, 1, H, W] by cells."""
    return functional.avg_pool2d(masks, 4)


def repaired(  # noqa: PLR0917 - what the network takes
    refiner: Refiner, image: Tensor, memory: Memory, carried: Tensor, evidence: Tensor, light: Tensor
) -> Tensor:
    """Logits of one pass."""
    features = refiner.encode(refiner.normalize(image))
    return refiner.refine(features, memory, carried, refiner.confidence(features, light), evidence, 8)


def test_shapes(refiner: Refiner) -> None:
    """For two pictures with three objects each, every output has the shape that its docstring promises."""
    pictures = torch.cat([picture(64, 112, seed) for seed in (0, 1)])
    features = refiner.encode(refiner.normalize(pictures), 32, 16)
    assert {stride: tuple(x.shape) for stride, x in features.maps.items()} == {
        4: (2, 24, 16, 28),
        8: (2, 32, 8, 14),
        16: (2, 128, 4, 7),
    }
    assert features.key.shape == (2, 66, 4, 7)
    assert features.light.shape == (2, 8, 16, 28)
    torch.testing.assert_close(features.light.norm(dim=1), torch.ones(2, 16, 28))
    memory = refiner.memorize(features, torch.rand(6, 1, 16, 28))
    assert memory.key.shape == (2, 66, 28)
    assert memory.value.shape == (6, 144, 28)
    confidence = refiner.confidence(features, torch.rand(2, 8, 16, 28))
    assert confidence.shape == (2, 1, 16, 28)
    for top_k in (5, 500):
        logits = refiner.refine(features, memory, torch.rand(6, 1, 16, 28), confidence, torch.rand(2, 3, 16, 28), top_k)
        assert logits.shape == (6, 1, 16, 28)


def test_regions_in_a_batch_are_regions_one_by_one(refiner: Refiner) -> None:
    """Pictures with two objects each, repaired in one pass, come out as each does alone."""
    torch.manual_seed(1)
    pictures = [picture(64, 80, seed) for seed in (3, 4, 5)]
    carried, light, evidence = torch.rand(6, 1, 16, 20), torch.rand(3, 8, 16, 20), torch.rand(3, 3, 16, 20)
    masks = torch.cat([small(bars(2, 64, 80)).flip(3 if n else 2) for n in range(3)])
    features = refiner.encode(refiner.normalize(torch.cat(pictures)))
    memory = refiner.memorize(features, masks)
    logits = repaired(refiner, torch.cat(pictures), memory, carried, evidence, light)
    for n, image in enumerate(pictures):
        own = slice(2 * n, 2 * n + 2)
        alone = refiner.memorize(refiner.encode(refiner.normalize(image)), masks[own])
        expected = repaired(refiner, image, alone, carried[own], evidence[n : n + 1], light[n : n + 1])
        torch.testing.assert_close(memory.value[own], alone.value, **CLOSE)
        torch.testing.assert_close(logits[own], expected, **CLOSE)


def test_objects_meet_only_as_others(refiner: Refiner) -> None:
    """An object that is not there changes nothing for another one; one that is there does, in memory and in repair."""
    torch.manual_seed(2)
    image = picture(64, 96)
    features = refiner.encode(refiner.normalize(image))
    first, second = small(bars(2, 64, 96)).split(1)
    evidence, light = torch.rand(1, 3, 16, 24), torch.rand(1, 8, 16, 24)

    def outcome(other: Tensor | None) -> Tensor:
        masks = first if other is None else torch.cat([first, other])
        memory = refiner.memorize(features, masks)
        logits = repaired(refiner, image, memory, masks, evidence, light)
        return torch.cat([memory.value[0].flatten(), logits[0].flatten()])

    alone = outcome(None)
    torch.testing.assert_close(outcome(torch.zeros_like(first)), alone, **CLOSE)
    assert (outcome(second) - alone).abs().max() > 1e-3


def test_label_channels_are_the_mask(refiner: Refiner) -> None:
    """The last 16 value channels of a position are the 4 x 4 cells of the soft mask there, row by row."""
    soft = torch.rand(1, 1, 8, 12)
    memory = refiner.memorize(refiner.encode(refiner.normalize(picture(32, 48))), soft)
    for row in range(2):
        for column in range(3):
            cells = soft[0, 0, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4].flatten()
            assert torch.equal(memory.value[0, 128:, row * 3 + column], cells)


def test_place_channels_are_coordinates(refiner: Refiner) -> None:
    """The last two key channels count rows and columns of 16 pixels from the picture's corner, times `nearness`."""
    torch.nn.init.constant_(refiner.nearness, 0.25)
    key = refiner.encode(refiner.normalize(picture(48, 64)), top=32, left=160).key
    for row in range(3):
        for column in range(4):
            assert key[0, 64:, row, column].tolist() == [0.25 * (2 + row), 0.25 * (10 + column)]


def test_a_region_finds_its_place_in_another_one(refiner: Refiner) -> None:
    """Where all looks the same, a position's nearest memory is the one of the same place, whatever the regions."""
    torch.nn.init.constant_(refiner.nearness, 100.0)
    flat = refiner.normalize(torch.full((1, 3, 96, 128), 90, dtype=torch.uint8))
    whole = refiner.encode(flat).key.flatten(2)[0]
    part = refiner.encode(flat[..., :48, :64], top=32, left=48).key.flatten(2)[0]
    nearest = (whole[:, :, None] - part[:, None, :]).square().sum(dim=0).argmin(dim=0).view(3, 4)
    assert nearest.tolist() == [[(2 + row) * 8 + 3 + column for column in range(4)] for row in range(3)]


def test_confidence_is_the_angle_between_light_features(refiner: Refiner) -> None:
    """Light features that agree give the highest logit, opposite ones the lowest, none at all the offset."""
    refiner.agreement.copy_(torch.tensor([4.0, 0.5]))
    features = refiner.encode(refiner.normalize(picture(32, 32)))
    for factor, logit in ((1.0, 4.5), (-1.0, -3.5), (0.0, 0.5)):
        confidence = refiner.confidence(features, features.light * factor)
        torch.testing.assert_close(confidence, torch.full((1, 1, 8, 8), logit))


def test_a_fresh_network_does_not_heed_evidence() -> None:
    """Before training, evidence and confidence change no logit, since their layers start at zero; then they do."""
    torch.manual_seed(3)
    refiner = Refiner().eval().requires_grad_(False)
    image, carried = picture(64, 64), small(bars(2, 64, 64))
    memory = refiner.memorize(refiner.encode(refiner.normalize(image)), carried)

    def logits() -> Tensor:
        evidence, light = torch.rand(1, 3, 16, 16), torch.rand(1, 8, 16, 16)
        return repaired(refiner, image, memory, carried, evidence, light)[0]

    assert torch.equal(logits(), logits())
    torch.nn.init.normal_(refiner.decoder.told4.weight, std=0.1)
    assert (logits() - logits()).abs().max() > 1e-3


def test_starting_from_compact_copies_what_fits_and_nothing_else() -> None:
    """All tensors of one name and shape come from `compact`, as do two of three tap scales; the rest stays."""
    torch.manual_seed(4)
    refiner, compact = Refiner(), CompactNetwork()
    compact.tap_scale.copy_(torch.tensor([2.0, 3.0, 5.0, 7.0]))
    before = {name: tensor.clone() for name, tensor in refiner.state_dict().items()}
    source = compact.state_dict()
    refiner.start_from(source)
    own = {
        *("nearness", "agreement", "tap_scale", "shared.weight", "light.weight", "light.bias"),
        *("decoder.told8.weight", "decoder.told4.weight"),
    }
    for name, tensor in refiner.state_dict().items():
        theirs = f"backbone.{name}" if name.startswith(("stem", "blocks")) else name
        expected = before[name] if name in own else source[theirs]
        if name != "tap_scale":
            assert torch.equal(tensor, expected), name
    assert refiner.tap_scale.tolist() == [2.0, 3.0, before["tap_scale"][2]]
