"""STM and STCN with pictures, masks and objects, beyond the goldens."""

from __future__ import annotations

import pytest
import torch

from vos.modeling.fold import fold_batch_norm
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.published import imagenet
from vos.modeling.published.encoders import with_masks
from vos.modeling.seeded import seeded_state
from vos.weights.build import build_network
from vos.weights.load import SEEDED, load_network

HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module", params=["stm", "stcn"])
def network(request: pytest.FixtureRequest) -> VOSNetwork:
    """The network in float32 with seeded weights, as `load_network` returns it."""
    return load_network(request.param, device="cpu", precision="float32", weights=SEEDED)


@pytest.fixture
def picture() -> torch.Tensor:
    """A seeded noise picture, uint8 [1, 3, 64, 96]."""
    return torch.randint(0, 256, (1, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture
def masks() -> torch.Tensor:
    """Three objects' soft masks, float [3, 1, 64, 96]."""
    return torch.rand(3, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2)) / 3


@torch.inference_mode()
def segment(network: VOSNetwork, picture: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Segment a picture from a memory of itself."""
    features = network.encode(network.normalize(picture))
    return network.segment(features, network.memorize(features, masks), None, 20)


def test_pictures_are_normalized_by_imagenet(picture: torch.Tensor) -> None:
    """A pixel becomes (value / 255 - mean) / deviation of its channel."""
    ours = imagenet.normalize(picture, torch.float32)
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (picture[0, channel].double() / 255 - mean) / std
        torch.testing.assert_close(ours[0, channel].double(), expected, atol=1e-6, rtol=0)


def test_each_object_sees_the_sum_of_the_others(masks: torch.Tensor) -> None:
    """The planes beside the picture are the object's own mask and the sum of all other objects' masks."""
    image = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
    stack = with_masks(image, masks)
    for k in range(3):
        others = sum(masks[j, 0] for j in range(3) if j != k)
        assert isinstance(others, torch.Tensor)
        torch.testing.assert_close(stack[k], torch.stack([*image[0], masks[k, 0], others]), atol=1e-6, rtol=0)


def test_a_single_object_sees_no_others(masks: torch.Tensor) -> None:
    """With one object, the plane of the other objects is exactly zero."""
    image = torch.zeros(1, 3, HEIGHT, WIDTH)
    assert with_masks(image, masks[:1])[0, 4].count_nonzero() == 0


def test_shapes_are_those_of_the_interface(network: VOSNetwork, picture: torch.Tensor, masks: torch.Tensor) -> None:
    """Keys are per object in STM and shared in STCN; values are per object; logits are at stride 4."""
    with torch.inference_mode():
        features = network.encode(network.normalize(picture))
        memory = network.memorize(features, masks)
    key_channels, keys = (128, 3) if network.name == "stm" else (64, 1)
    assert features.key.shape == (1, key_channels, 4, 6)
    assert memory.key.shape == (keys, key_channels, 24)
    assert memory.value.shape == (3, 512, 24)
    assert segment(network, picture, masks).shape == (3, 1, 16, 24)


def test_the_order_of_objects_does_not_matter(network: VOSNetwork, picture: torch.Tensor, masks: torch.Tensor) -> None:
    """Reordering the objects reorders their logits."""
    order = [2, 0, 1]
    logits = segment(network, picture, masks)
    torch.testing.assert_close(segment(network, picture, masks[order]), logits[order], atol=1e-4, rtol=0)


def test_objects_in_one_pass_equal_objects_alone(network: VOSNetwork, picture: torch.Tensor) -> None:
    """With empty masks, two objects at once give the logits of each alone."""
    empty = torch.zeros(2, 1, HEIGHT, WIDTH)
    both = segment(network, picture, empty)
    torch.testing.assert_close(both, segment(network, picture, empty[:1]).expand_as(both), atol=1e-4, rtol=0)


def test_the_order_of_memory_frames_does_not_matter(
    network: VOSNetwork, picture: torch.Tensor, masks: torch.Tensor
) -> None:
    """Memory frames in another order give the same logits."""
    with torch.inference_mode():
        features: Features = network.encode(network.normalize(picture))
        first = network.memorize(features, masks)
        second = network.memorize(network.encode(network.normalize(255 - picture)), masks)
        logits = [
            network.segment(
                features,
                Memory(torch.cat([a.key, b.key], dim=2), torch.cat([a.value, b.value], dim=2)),
                None,
                20,
            )
            for a, b in ((first, second), (second, first))
        ]
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["stm", "stcn"])
def test_folding_batch_norm_keeps_the_function(name: str, picture: torch.Tensor, masks: torch.Tensor) -> None:
    """A network with folded batch norms gives the same logits."""
    network = build_network(name)
    network.load_state_dict(seeded_state(network.state_dict()))
    network.eval()
    before = segment(network, picture, masks[:1])
    fold_batch_norm(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(segment(network, picture, masks[:1]), before, atol=1e-4, rtol=0)
