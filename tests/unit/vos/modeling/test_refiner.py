"""The refiner: shapes, independence of objects and pictures, matching by position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.support.masks import bars, picture
from tests.support.networks import random_refiner
from vos.modeling.compact import CompactNetwork
from vos.modeling.network import Memory
from vos.modeling.refiner import Refiner

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture
def refiner() -> Refiner:
    """The network with seeded random weights, also in the layers for bitstream features, which start at zero."""
    return random_refiner()


def small(masks: Tensor) -> Tensor:
    """Masks [N, 1, H, W] at stride 4."""
    return functional.avg_pool2d(masks, 4)


def refined(  # noqa: PLR0917 - inputs of the network
    refiner: Refiner, image: Tensor, memory: Memory, propagated: Tensor, bitstream: Tensor, light: Tensor
) -> Tensor:
    """Encode and refine one picture."""
    features = refiner.encode(refiner.normalize(image))
    return refiner.refine(features, memory, propagated, refiner.confidence(features, light), bitstream, 8)


def test_shapes(refiner: Refiner) -> None:
    """For two pictures with three objects each, every output has its documented shape."""
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


def test_regions_in_a_batch_equal_regions_one_by_one(refiner: Refiner) -> None:
    """Pictures with two objects each, refined in one pass, give the logits of each picture alone."""
    torch.manual_seed(1)
    pictures = [picture(64, 80, seed) for seed in (3, 4, 5)]
    propagated, light, bitstream = torch.rand(6, 1, 16, 20), torch.rand(3, 8, 16, 20), torch.rand(3, 3, 16, 20)
    masks = torch.cat([small(bars(2, 64, 80)).flip(3 if n else 2) for n in range(3)])
    features = refiner.encode(refiner.normalize(torch.cat(pictures)))
    memory = refiner.memorize(features, masks)
    logits = refined(refiner, torch.cat(pictures), memory, propagated, bitstream, light)
    for n, image in enumerate(pictures):
        own = slice(2 * n, 2 * n + 2)
        alone = refiner.memorize(refiner.encode(refiner.normalize(image)), masks[own])
        expected = refined(refiner, image, alone, propagated[own], bitstream[n : n + 1], light[n : n + 1])
        torch.testing.assert_close(memory.value[own], alone.value, **CLOSE)
        torch.testing.assert_close(logits[own], expected, **CLOSE)


def test_objects_see_each_other_only_as_masks(refiner: Refiner) -> None:
    """An empty object does not change the memory and logits of another one; a visible object does."""
    torch.manual_seed(2)
    image = picture(64, 96)
    features = refiner.encode(refiner.normalize(image))
    first, second = small(bars(2, 64, 96)).split(1)
    bitstream, light = torch.rand(1, 3, 16, 24), torch.rand(1, 8, 16, 24)

    def result(other: Tensor | None) -> Tensor:
        masks = first if other is None else torch.cat([first, other])
        memory = refiner.memorize(features, masks)
        logits = refined(refiner, image, memory, masks, bitstream, light)
        return torch.cat([memory.value[0].flatten(), logits[0].flatten()])

    alone = result(None)
    torch.testing.assert_close(result(torch.zeros_like(first)), alone, **CLOSE)
    assert (result(second) - alone).abs().max() > 1e-3


def test_label_channels_are_the_mask(refiner: Refiner) -> None:
    """The last 16 value channels of a position are its 4 x 4 cells of the soft mask, row by row."""
    soft = torch.rand(1, 1, 8, 12)
    memory = refiner.memorize(refiner.encode(refiner.normalize(picture(32, 48))), soft)
    for row in range(2):
        for column in range(3):
            cells = soft[0, 0, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4].flatten()
            assert torch.equal(memory.value[0, 128:, row * 3 + column], cells)


def test_position_channels_are_coordinates(refiner: Refiner) -> None:
    """The last two key channels count rows and columns of 16 pixels from the picture's corner, times `nearness`."""
    torch.nn.init.constant_(refiner.nearness, 0.25)
    key = refiner.encode(refiner.normalize(picture(48, 64)), top=32, left=160).key
    for row in range(3):
        for column in range(4):
            assert key[0, 64:, row, column].tolist() == [0.25 * (2 + row), 0.25 * (10 + column)]


def test_matches_of_equal_appearance_are_by_position(refiner: Refiner) -> None:
    """In a flat picture, the nearest memory of a position is the same position, whatever the regions."""
    torch.nn.init.constant_(refiner.nearness, 100.0)
    flat = refiner.normalize(torch.full((1, 3, 96, 128), 90, dtype=torch.uint8))
    whole = refiner.encode(flat).key.flatten(2)[0]
    part = refiner.encode(flat[..., :48, :64], top=32, left=48).key.flatten(2)[0]
    nearest = (whole[:, :, None] - part[:, None, :]).square().sum(dim=0).argmin(dim=0).view(3, 4)
    assert nearest.tolist() == [[(2 + row) * 8 + 3 + column for column in range(4)] for row in range(3)]


def test_confidence_is_the_angle_between_light_features(refiner: Refiner) -> None:
    """Equal light features give the highest logit, opposite ones the lowest, zero features the offset."""
    refiner.agreement.copy_(torch.tensor([4.0, 0.5]))
    features = refiner.encode(refiner.normalize(picture(32, 32)))
    for factor, logit in ((1.0, 4.5), (-1.0, -3.5), (0.0, 0.5)):
        confidence = refiner.confidence(features, features.light * factor)
        torch.testing.assert_close(confidence, torch.full((1, 1, 8, 8), logit))


def test_a_fresh_network_ignores_bitstream_features() -> None:
    """Before training, bitstream features and confidence change no logit, since their layers start at zero."""
    torch.manual_seed(3)
    refiner = Refiner().eval().requires_grad_(False)
    image, propagated = picture(64, 64), small(bars(2, 64, 64))
    memory = refiner.memorize(refiner.encode(refiner.normalize(image)), propagated)

    def logits() -> Tensor:
        bitstream, light = torch.rand(1, 3, 16, 16), torch.rand(1, 8, 16, 16)
        return refined(refiner, image, memory, propagated, bitstream, light)[0]

    assert torch.equal(logits(), logits())
    torch.nn.init.normal_(refiner.decoder.told4.weight, std=0.1)
    assert (logits() - logits()).abs().max() > 1e-3


def test_starting_from_compact_copies_matching_tensors_only() -> None:
    """Tensors of equal name and shape and two of three tap scales come from `compact`; all others stay."""
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
