"""What every base network offers to the segmenter, whatever is inside it.

A base network works on single frames; what it has seen before lies in a memory that its caller keeps. Shapes:
B batch (1 at inference), K objects, T frames in memory, H x W picture (multiples of 16), h x w = H/16 x W/16.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from vos.modeling.fold import fold_batch_norm


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What a network knows of one picture before any object.

    Attributes:
        image: float [1, 3, H, W], normalised as the network wants it.
        key: float [1, Ck, h, w], what memory is asked with.
        maps: Feature maps by stride, such as {4: [1, C4, H/4, W/4], 16: ...}; which ones is the network's affair.
    """

    image: Tensor
    key: Tensor
    maps: dict[int, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Key-value memory, one frame or many laid side by side.

    Attributes:
        key: float [Kk, Ck, T*h*w], with Kk = K if the network's keys see the objects (STM), else 1 (STCN).
        value: float [K, Cv, T*h*w].
    """

    key: Tensor
    value: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class FramePrediction:
    """What a network says of one frame.

    Attributes:
        logits: float [K, 1, H/4, W/4], see `VOSNetwork.segment`.
        presence: float [K], logit of whether any of the object is in the frame; None if the network does not tell.
    """

    logits: Tensor
    presence: Tensor | None = None


class VOSNetwork(nn.Module, ABC):
    """A memory network for semi-supervised video object segmentation."""

    name: str
    optional: tuple[str, ...] = ()
    """Modules that weights may lack; the network then works without them."""
    stride = 16
    """Height and width of what goes in must be multiples of this."""

    def fold(self) -> None:
        """Merge, in place, layers that make one linear map at inference; its state dict is then no checkpoint's."""
        fold_batch_norm(self)

    def lacking(self, state: Iterable[str]) -> tuple[str, ...]:
        """The optional modules of which a state dict, given by its names, holds nothing."""
        held = {name.partition(".")[0] for name in state}
        return tuple(part for part in self.optional if part not in held)

    @abstractmethod
    def normalize(self, rgb: Tensor) -> Tensor:
        """Picture uint8 [1, 3, H, W] -> float [1, 3, H, W] as `encode` wants it."""

    @abstractmethod
    def encode(self, image: Tensor) -> Features:
        """Normalised picture float [1, 3, H, W] -> its features."""

    @abstractmethod
    def memorize(self, features: Features, masks: Tensor) -> Memory:
        """Features of a frame and its soft masks float [K, 1, H, W] in 0..1 -> one frame of memory (T = 1)."""

    @abstractmethod
    def segment(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> Tensor:
        """Segment one frame.

        Args:
            features: The frame's features.
            memory: Memory of the frames before.
            previous: float [K, 1, H/4, W/4] in 0..1, the masks expected in this frame (the previous frame's, or those
                that motion carried here); None if unknown. A network may ignore it.
            top_k: Memory positions that each position reads from.

        Returns:
            Logits float [K, 1, H/4, W/4], one independent "object or not" an object, before soft aggregation.
        """

    def predict(self, features: Features, memory: Memory, previous: Tensor | None, top_k: int) -> FramePrediction:
        """Segment one frame as `segment` does, and say of each object whether it is in the frame at all."""
        return FramePrediction(self.segment(features, memory, previous, top_k))
