"""The interface of a base network.

A base network works on single frames; its caller keeps the memory of earlier frames. Shapes: B pictures (1 at
inference), K objects, T frames in memory, H x W pixels (multiples of 16), h x w = H/16 x W/16.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from vos.modeling.fold import fold_batch_norm


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of one picture, independent of objects.

    Attributes:
        image: float [1, 3, H, W], as returned by `normalize`.
        key: float [1, Ck, h, w], the query of a memory read.
        maps: Feature maps by stride, such as {4: [1, C4, H/4, W/4], 16: ...}; each network chooses its strides.
    """

    image: Tensor
    key: Tensor
    maps: dict[int, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Key-value memory of one or more frames, side by side.

    Attributes:
        key: float [Kk, Ck, T*h*w], where Kk is K if keys depend on the objects (STM), else 1 (STCN).
        value: float [K, Cv, T*h*w].
    """

    key: Tensor
    value: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class FramePrediction:
    """Prediction of a network for one frame.

    Attributes:
        logits: float [K, 1, H/4, W/4], as returned by `VOSNetwork.segment`.
        presence: float [K], logit of whether any part of the object is visible; None if the network has no such head.
    """

    logits: Tensor
    presence: Tensor | None = None


class VOSNetwork(nn.Module, ABC):
    """A memory network for semi-supervised video object segmentation."""

    name: str
    optional: tuple[str, ...] = ()
    """Modules that weights may lack; the network works without them."""
    int8_parts: tuple[str, ...] = ()
    """Methods that `vos.modeling.cpu.int8` may run; they take and return nothing but tensors."""
    compute_dtype: str | None = None
    """Precision of these parts, if it is not that of the parameters."""
    sees_windows = False
    """Whether keys and values know appearance only, not places and sizes of pictures: then memory may hold parts of
    pictures side by side, and large pictures of small objects are seen in part."""
    stride = 16
    """Input height and width must be multiples of this."""

    def fold(self) -> None:
        """Merge adjacent linear layers for inference, in place; the state dict no longer fits a checkpoint."""
        fold_batch_norm(self)

    def missing_optional(self, state: Iterable[str]) -> tuple[str, ...]:
        """Optional modules of which a state dict, given by its names, holds nothing."""
        present = {name.partition(".")[0] for name in state}
        return tuple(part for part in self.optional if part not in present)

    @abstractmethod
    def normalize(self, rgb: Tensor) -> Tensor:
        """Picture uint8 [1, 3, H, W] -> input of `encode`, float [1, 3, H, W]."""

    @abstractmethod
    def encode(self, image: Tensor) -> Features:
        """Normalized picture float [1, 3, H, W] -> its features."""

    @abstractmethod
    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Features of a frame, soft masks float [K, 1, H, W] in 0..1 -> memory of this frame (T = 1)."""

    @abstractmethod
    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Segment one frame.

        Args:
            features: The frame's features.
            memory: Memory of earlier frames.
            previous: Expected masks float [K, 1, H/4, W/4] in 0..1 (the previous frame's, or propagated ones); None
                if unknown. A network may ignore them.
            top_k: Memory positions that each query position reads.

        Returns:
            Logits float [K, 1, H/4, W/4] of each object against everything else, before soft aggregation.
        """

    def predict(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> FramePrediction:
        """Segment one frame as `segment` does, and predict whether each object is visible."""
        return FramePrediction(self.segment(features, memory, previous, top_k))
