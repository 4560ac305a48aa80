"""Networks and refiners whose answers are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.modeling.network import Features, Memory, VOSNetwork
from vos.modeling.refiner import RefinerFeatures


class BrightnessNetwork(VOSNetwork):
    """Object k is where the picture has brightness 100 * k; counts its runs."""

    name = "brightness"

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.segmented = 0
        self.memorized = 0

    def normalize(self, rgb: Tensor) -> Tensor:
        """As it is."""
        return rgb.float()

    def encode(self, image: Tensor) -> Features:
        """The picture itself."""
        return Features(image, image[:, :1, ::16, ::16], {1: image})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """One number a position."""
        self.memorized += 1
        positions = features.key.flatten(2)
        return Memory(positions, F.avg_pool2d(masks, 16).flatten(2))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Compare brightness."""
        assert top_k > 0
        self.segmented += 1
        assert previous is not None
        grey = F.avg_pool2d(features.image[:, :1], 4)
        levels = 100.0 * torch.arange(1, len(memory.value) + 1).view(-1, 1, 1, 1)
        return (50 - (grey - levels).abs()).clamp(-20, 20)


class MemoryNetwork(BrightnessNetwork):
    """Its masks depend on every position and slot of the memory, and on the hint: nothing may be lost on the way."""

    def segment(self, features: Features, memory: Memory, previous: torch.Tensor | None, top_k: int) -> torch.Tensor:
        """Brightness, shifted by a number that the whole memory makes."""
        assert previous is not None
        logits = super().segment(features, memory, previous, top_k)
        order = torch.linspace(0.5, 1.5, memory.value.shape[-1])
        bias = (memory.value * order).mean(dim=(1, 2)) + (memory.key * order).mean() / 255
        return logits * 0.05 + bias.view(-1, 1, 1, 1) + previous - 0.5


class TracingRefiner(nn.Module):
    """Takes the place of the network: remembers what it was given, and knows frames by their brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []
        self.read: list[int] = []

    def normalize(self, rgb: Tensor) -> Tensor:
        """As it is."""
        return rgb.float()

    def encode(
        self, image: Tensor, top: int = 0, left: int = 0, _step: tuple[float, float] = (1.0, 1.0)
    ) -> RefinerFeatures:
        """The brightness of the first pixel as the key; light features of 1."""
        height, width = image.shape[2:]
        self.seen.append((top, left, height, width))
        light = image.new_ones(1, 8, height // 4, width // 4)
        return RefinerFeatures({4: image}, image[:, :1, ::16, ::16], light)

    def memorize(self, features: RefinerFeatures, soft: Tensor) -> Memory:
        """The brightness."""
        return Memory(features.key.flatten(2)[..., :1], soft.flatten(2)[..., :1])

    def confidence(self, _features: RefinerFeatures, propagated_light: Tensor) -> Tensor:
        """None at all."""
        return propagated_light[:, :1]

    def refine(
        self, _features: RefinerFeatures, memory: Memory, propagated: Tensor, _confidence: Tensor, _evidence: Tensor
    ) -> Tensor:
        """Nothing is left of any object."""
        self.read = memory.key.flatten().int().tolist()
        return torch.full_like(propagated, -10.0)


class UncertainRefiner(TracingRefiner):
    """Leaves masks as they are, but the worst object's is only as sure as is scripted for each frame it sees."""

    def __init__(self, sure: dict[int, float]) -> None:
        super().__init__()
        self.sure = sure
        self.count = 0

    def refine(
        self, _features: RefinerFeatures, _memory: Memory, propagated: Tensor, _confidence: Tensor, _evidence: Tensor
    ) -> Tensor:
        """The masks that came; aggregation with the background squares their odds."""
        self.count += 1
        sure = torch.full((len(propagated), 1, 1, 1), 0.99)
        sure[-1] = self.sure.get(self.count, 0.99)
        return torch.logit(torch.where(propagated > 0.5, sure, propagated.clamp(min=1e-6))) / 2
