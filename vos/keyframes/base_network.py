"""The interface of a base network: what key frames need, whatever the network remembers of a video.

`VOSNetwork` (`vos.modeling.network`) suits networks whose memory is one key and one value per frame, which
`KeyframeSegmenter` drives. Networks with other state (recurrent features, object pointers) subclass `BaseNetwork` and
`BaseSession`, as the adapters in `vos.keyframes.adapters` do. To `vos.session` both look the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor, nn

from codec.types import CompressedFrame
from vos.masks.geometry import PaddedSize
from vos.modeling.network import FramePrediction
from vos.runtime.run_state import MemoryLayout
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools
from vos.types import Options

FrameFeatures = TypeVar("FrameFeatures")


@dataclass(frozen=True, slots=True, eq=False)
class VideoSetup:
    """What a base network needs to begin a video.

    Attributes:
        height, width: Analysis size in pixels.
        options: How much to remember.
        pools: Threads for work beside the caller; None does all work in the caller's thread.
        timer: Takes the time of each stage.
    """

    height: int
    width: int
    options: Options
    pools: ThreadPools | None
    timer: StageTimer


class BaseNetwork(nn.Module, ABC):
    """A loaded base network, in eval mode.

    Attributes:
        name: Name in the catalog.
        model: Module with the published parameters, under their published names.
    """

    name: str
    model: Any

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.parameters()).device

    @property
    def compute_dtype(self) -> torch.dtype:
        """Type that the network computes in: that of its parameters, if not overridden."""
        return next(self.parameters()).dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """Compute in this type from now on."""
        self.model.to(dtype)

    def convert(self, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what `model` needs of a published file."""
        return dict(published)

    @abstractmethod
    def begin(self, setup: VideoSetup) -> BaseSession[Any]:
        """Begin a video. Sessions share nothing but the parameters."""


class BaseSession(ABC, Generic[FrameFeatures]):
    """A base network on one video.

    Frames come in decode order. The first call is `prompt` with the masks of all objects. After that, each key frame is
    encoded, segmented and memorized. Objects are numbered from 0 in the order in which they were prompted; K is their
    number. Memory must not grow with the length of the video.

    Args:
        size: Sizes of the pictures. Soft masks have its padded size.
        pools: Threads for `prefetch`; None if there are none.
        timer: Takes the time of each stage.

    Attributes:
        empties_absent: Whether `segment` itself returns empty masks of objects that it finds absent.
    """

    empties_absent = True

    def __init__(self, size: PaddedSize, pools: ThreadPools | None, timer: StageTimer) -> None:
        self.size = size
        self._pools = pools
        self._timer = timer
        self._prefetched: tuple[CompressedFrame, Future[FrameFeatures]] | None = None

    @property
    def indices(self) -> tuple[int, ...]:
        """Presentation indices of the key frames that a resumed run must memorize again."""
        return self.layout.indices

    @property
    @abstractmethod
    def layout(self) -> MemoryLayout:
        """Which key frames a resumed run must memorize again."""

    @abstractmethod
    def _encode(self, frame: CompressedFrame) -> FrameFeatures:
        """Compute the features of a frame; called in any thread, and independent of masks and earlier frames."""

    @abstractmethod
    def segment(self, features: FrameFeatures, hint: Tensor | None) -> FramePrediction:
        """Segment a frame.

        Args:
            features: Of the frame, from `encode`.
            hint: Soft masks [K, rows, columns] on the stride-4 grid that are expected in it; None if there are none. A
                network may ignore them.

        Returns:
            Logits float32 [K, 1, rows, columns] of any size that `to_full` accepts, and presence, if it is known.
        """

    @abstractmethod
    def to_full(self, logits: Tensor) -> Tensor:
        """Logits from `segment` -> soft masks float32 [K, padded_height, padded_width] that sum to at most 1."""

    @abstractmethod
    def memorize(self, index: int, features: FrameFeatures, masks: Tensor) -> None:
        """Remember the frame that was segmented last, and drop what is no longer needed.

        Args:
            index: Presentation index of the frame.
            features: Of the frame, from `encode`.
            masks: Its soft masks [K, padded_height, padded_width], from `to_full`.
        """

    @abstractmethod
    def prompt(self, index: int, features: FrameFeatures, masks: Mapping[int, Tensor]) -> Tensor:
        """Take masks that a user gives for a frame: first ones, those of new objects, or corrections.

        Args:
            index: Presentation index of the frame.
            features: Of the frame, from `encode`.
            masks: Object's number -> soft mask [padded_height, padded_width]. The numbers of new objects follow those
                of known ones.

        Returns:
            Soft masks of all objects on this frame, [K, padded_height, padded_width]: the given ones, and what the
            network finds of other objects outside them.
        """

    def capture(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return what `restore` cannot compute from key frames and their masks, for the resume state."""
        return {}

    @abstractmethod
    def reserve(self, layout: MemoryLayout, captured: Mapping[str, npt.NDArray[Any]]) -> None:
        """Prepare to continue an interrupted run; `restore` follows for each frame in `layout`."""

    @abstractmethod
    def restore(self, frame: CompressedFrame, masks: Tensor) -> None:
        """Memorize a frame again, with the soft masks [K, padded_height, padded_width] that it had."""

    @property
    def can_prefetch(self) -> bool:
        """Whether `prefetch` has a core to run on."""
        return self._pools is not None

    def prefetch(self, frame: CompressedFrame) -> None:
        """Start to encode a frame that is expected to be key, and drop the one that was expected before."""
        if self._pools is not None and (self._prefetched is None or self._prefetched[0] is not frame):
            self._drop_prefetched()
            self._prefetched = frame, self._pools.beside(self._encode, frame)

    def encode(self, frame: CompressedFrame, expected: Tensor | None = None) -> FrameFeatures:  # noqa: ARG002
        """Return the features of a key frame, prefetched or not.

        Args:
            frame: The frame.
            expected: Soft masks [K, rows, columns] on the stride-4 grid of the objects that should be in it; None if
                nothing is known. A network may look at the part of the picture around them only.
        """
        with self._timer.stage("encode"):
            future = self._prefetched[1] if self._prefetched is not None and self._prefetched[0] is frame else None
            # If it has not started, it is faster here, on all cores.
            features = self._encode(frame) if future is None or future.cancel() else future.result()
        self._drop_prefetched()
        return features

    def _drop_prefetched(self) -> None:
        if self._prefetched is not None:
            self._prefetched[1].cancel()  # has no effect on work that is running or done
            self._prefetched = None


def merge_given(predicted: Tensor, given: Mapping[int, Tensor]) -> Tensor:
    """Return soft masks [K, H, W]: the given ones, and the predicted ones outside them.

    Args:
        predicted: Soft masks of known objects, [known, H, W].
        given: Object's number -> soft mask [H, W]; all numbers from `known` on are in it.
    """
    count = max(len(predicted), max(given) + 1)
    free = 1 - torch.stack(list(given.values())).amax(dim=0).clamp(0, 1)
    return torch.stack([given[k] if k in given else predicted[k] * free for k in range(count)])
