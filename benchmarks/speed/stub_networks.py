"""A network that does all its work and then answers what was expected of it.

Seeded weights find nothing, and behind them every other stage would have nothing to do: no object to warp, to refine,
to add_keyframe or to rasterize_labels. With the answer replaced they have what they would have behind trained weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vos.modeling.network import Features, Memory, VOSNetwork


def expected_logits(previous: Tensor | None) -> Tensor:
    """The expected masks float [K, 1, H/4, W/4] as logits, in float32.

    Raises:
        ValueError: There are none.
    """
    if previous is None:
        raise ValueError("there are no previous masks; a network that answers what is expected needs them")
    # In bfloat16 the bounds would round to 0 and 1, whose logits are infinite.
    return previous.float().clamp(1e-3, 1 - 1e-3).logit()


class EchoNetwork(VOSNetwork):
    """Another network, all of which runs; its segmentation is thrown away for what was expected.

    Args:
        inner: The network that works.
    """

    def __init__(self, inner: VOSNetwork) -> None:
        super().__init__()
        self.inner = inner
        self.name, self.stride = inner.name, inner.stride

    def normalize(self, rgb: Tensor) -> Tensor:
        """As the network that works."""
        return self.inner.normalize(rgb)

    def encode(self, image: Tensor) -> Features:
        """As the network that works."""
        return self.inner.encode(image)

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """As the network that works."""
        return self.inner.memorize(features, masks)

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """The previous masks as logits, once the other network has segmented the frame."""
        self.inner.segment(features, memory, previous, top_k)
        return expected_logits(previous)


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
