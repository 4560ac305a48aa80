"""Networks that return the masks they are given, so that speed can be measured without trained weights.

Seeded weights find no object, and then the other stages have nothing to do: nothing to propagate, refine, memorize or
draw. With the expected masks as the result, these stages do the same work as with trained weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.keyframes.base_network import BaseNetwork, BaseSession, VideoSetup
from vos.modeling.network import Features, FramePrediction, Memory, VOSNetwork


def expected_logits(previous: Tensor | None) -> Tensor:
    """Convert previous masks float [K, 1, H/4, W/4] to logits, float32.

    Raises:
        ValueError: There are no previous masks.
    """
    if previous is None:
        raise ValueError("there are no previous masks; a stub network returns them as its result")
    # In bfloat16 these bounds would round to 0 and 1, whose logits are infinite.
    return previous.float().clamp(1e-3, 1 - 1e-3).logit()


class WrappedNetwork(VOSNetwork):
    """Calls another network; subclasses change what `segment` does.

    Args:
        inner: The network to run.
    """

    def __init__(self, inner: VOSNetwork) -> None:
        super().__init__()
        self.inner = inner
        self.name, self.stride, self.sees_windows = inner.name, inner.stride, inner.sees_windows

    def normalize(self, rgb: Tensor) -> Tensor:
        """Call the inner network."""
        return self.inner.normalize(rgb)

    def encode(self, image: Tensor) -> Features:
        """Call the inner network."""
        return self.inner.encode(image)

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Call the inner network."""
        return self.inner.memorize(features, masks)

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Call the inner network."""
        return self.inner.segment(features, memory, previous, top_k)


class EchoNetwork(WrappedNetwork):
    """Runs all of another network, but returns the previous masks instead of its segmentation."""

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Segment with the inner network, and return the previous masks as logits."""
        self.inner.segment(features, memory, previous, top_k)
        return expected_logits(previous)


class EchoBaseNetwork(BaseNetwork):
    """Runs all of another base network, but returns the propagated masks instead of its segmentation.

    Args:
        inner: The network to run.
    """

    def __init__(self, inner: BaseNetwork) -> None:
        super().__init__()
        self.inner, self.name, self.model = inner, inner.name, inner.model

    @property
    def compute_dtype(self) -> torch.dtype:
        """Ask the inner network."""
        return self.inner.compute_dtype

    def begin(self, setup: VideoSetup) -> BaseSession[Any]:
        """Begin a video with the inner network, and change what `segment` and `to_full` return."""
        session = self.inner.begin(setup)
        segment = session.segment

        def echo(features: Any, hint: Tensor | None) -> FramePrediction:
            segment(features, hint)
            return FramePrediction(expected_logits(hint).unsqueeze(1))

        def to_full(logits: Tensor) -> Tensor:
            full = F.interpolate(torch.sigmoid(logits), scale_factor=4, mode="bilinear", align_corners=False)
            return full.squeeze(1)[..., : setup.height, : setup.width]

        session.segment, session.to_full = echo, to_full  # type: ignore[method-assign]
        return session


def echoing(network: VOSNetwork | BaseNetwork) -> VOSNetwork | BaseNetwork:
    """Return a network that does all the work of another one and returns the expected masks."""
    return EchoBaseNetwork(network) if isinstance(network, BaseNetwork) else EchoNetwork(network)


class IdleNetwork(VOSNetwork):
    """Computes nothing and returns the previous masks."""

    name = "idle"

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1), requires_grad=False)

    def normalize(self, rgb: Tensor) -> Tensor:
        """Return the first row: float [1, 3, 1, W]."""
        return rgb[:, :, :1].float()

    def encode(self, image: Tensor) -> Features:
        """Return a key with one channel."""
        return Features(image, image.new_zeros(1, 1, 1, 1), {})

    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Return a memory with one position."""
        return Memory(features.key.flatten(2), masks.new_zeros(len(masks), 1, 1))

    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:  # noqa: ARG002
        """Return the previous masks as logits."""
        return expected_logits(previous)
