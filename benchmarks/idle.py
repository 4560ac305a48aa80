"""A network that does nothing, so that only what surrounds it is timed."""

from __future__ import annotations

import torch
from told import expected_logits
from torch import Tensor, nn

from vos.modeling.network import Features, Memory, VOSNetwork


class IdleNetwork(VOSNetwork):
    """Holds the prompt and nothing else; its segmentation is what was expected, or nothing."""

    name = "idle"

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1), requires_grad=False)

    def normalize(self, rgb: Tensor) -> Tensor:
        """The first row alone: float [1, 3, 1, W]."""
        return rgb[:, :, :1].float()

    def encode(self, image: Tensor) -> Features:
        """A key of one channel."""
        return Features(image, image.new_zeros(1, 1, 1, 1), {})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Memory of one position."""
        return Memory(features.key.flatten(2), masks.new_zeros(len(masks), 1, 1))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:  # noqa: ARG002
        """The previous masks as logits."""
        return expected_logits(previous)
