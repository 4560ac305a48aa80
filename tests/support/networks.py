"""Networks and refiners with known results."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.refiner import Refiner, RefinerFeatures


class BrightnessNetwork(VOSNetwork):
    """Finds object k where the picture has brightness 100 * k, and counts its calls."""

    name = "brightness"

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.segmented = 0
        self.memorized = 0

    def normalize(self, rgb: Tensor) -> Tensor:
        """Return the picture as it is."""
        return rgb.float()

    def encode(self, image: Tensor) -> Features:
        """Return the picture as its features."""
        return Features(image, image[:, :1, ::16, ::16], {1: image})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Return one number per position."""
        self.memorized += 1
        positions = features.key.flatten(2)
        return Memory(positions, F.avg_pool2d(masks, 16).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Return logits that compare the brightness."""
        assert top_k > 0
        self.segmented += 1
        assert previous is not None
        grey = F.avg_pool2d(features.image[:, :1], 4)
        levels = 100.0 * torch.arange(1, len(memory.value) + 1).view(-1, 1, 1, 1)
        return (50 - (grey - levels).abs()).clamp(-20, 20)


class MemoryNetwork(BrightnessNetwork):
    """Its masks depend on every position and slot of the memory and on the hint, so that a lost one shows."""

    def segment(self, features: Features, memory: Memory, previous: torch.Tensor | None, top_k: int) -> torch.Tensor:
        """Return the logits of the brightness, shifted by a number that depends on the whole memory."""
        assert previous is not None
        logits = super().segment(features, memory, previous, top_k)
        order = torch.linspace(0.5, 1.5, memory.value.shape[-1])
        bias = (memory.value * order).mean(dim=(1, 2)) + (memory.key * order).mean() / 255
        return logits * 0.05 + bias.view(-1, 1, 1, 1) + previous - 0.5


class TracingRefiner(nn.Module):
    """Removes all objects, and records its inputs; it recognizes frames by their brightness.

    Attributes:
        seen: (top, left, height, width) of each encoded region.
        read: Brightness of the key frames that the latest frame was matched with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []
        self.read: list[int] = []

    def normalize(self, rgb: Tensor) -> Tensor:
        """Return the picture as it is."""
        return rgb.float()

    def encode(
        self, image: Tensor, top: int = 0, left: int = 0, _step: tuple[float, float] = (1.0, 1.0)
    ) -> RefinerFeatures:
        """Return the brightness of the first pixel as the key, and light features of 1."""
        height, width = image.shape[2:]
        self.seen.append((top, left, height, width))
        light = image.new_ones(1, 8, height // 4, width // 4)
        return RefinerFeatures({4: image}, image[:, :1, ::16, ::16], light)

    def memorize(self, features: RefinerFeatures, soft: Tensor) -> Memory:
        """Return the brightness."""
        return Memory(features.key.flatten(2)[..., :1], soft.flatten(2)[..., :1])

    def confidence(self, _features: RefinerFeatures, light: Tensor) -> Tensor:
        """Return an arbitrary value."""
        return light[:, :1]

    def refine(
        self, _features: RefinerFeatures, memory: Memory, propagated: Tensor, *_others: Tensor, **_parts: object
    ) -> Tensor:
        """Return logits without any object."""
        self.read = memory.key.flatten().int().tolist()
        return torch.full_like(propagated, -10.0)


class UncertainRefiner(TracingRefiner):
    """Leaves masks as they are, but limits the last object's confidence.

    Args:
        confidence: Number of a refined frame, from 1 -> confidence; 0.99 for frames without an entry.
    """

    def __init__(self, confidence: dict[int, float]) -> None:
        super().__init__()
        self.limits = confidence
        self.count = 0

    def refine(
        self, _features: RefinerFeatures, _memory: Memory, propagated: Tensor, *_others: Tensor, **_parts: object
    ) -> Tensor:
        """Return the propagated masks; aggregation with the background squares their odds."""
        self.count += 1
        limit = torch.full((len(propagated), 1, 1, 1), 0.99)
        limit[-1] = self.limits.get(self.count, 0.99)
        return torch.logit(torch.where(propagated > 0.5, limit, propagated.clamp(min=1e-6))) / 2


def random_refiner() -> Refiner:
    """Return a refiner with seeded random weights, also in the layers for bitstream features, which start at zero."""
    torch.manual_seed(0)
    network = Refiner().eval().requires_grad_(False)
    for layer in (network.decoder.told8, network.decoder.told4):
        torch.nn.init.normal_(layer.weight, std=0.1)
    return network
