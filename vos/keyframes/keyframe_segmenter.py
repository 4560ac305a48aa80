"""The base network on one video: segment key frames with a memory of earlier ones.

Refining a single frame leaves half of the cores idle. Two things that no mask waits for run there: the memory entry of
the latest key frame, and the features of the next one, because the backbone needs no mask. The policy predicts which
frame that is. Features do not depend on the core that computes them, so masks do not depend on what was ready in time.
A wrong prediction costs its work and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, CompressedFrame
from vos.keyframes.memory_bank import MemoryBank
from vos.masks.geometry import PaddedSize, rgb_to_tensor
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.runtime.run_state import MemoryLayout
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools
from vos.types import Options


class KeyframeSegmenter:
    """Base network and memory bank of one video.

    Args:
        network: Base network, in eval mode.
        options: How many frames the memory holds, and how many positions are read.
        size: Sizes of the video's pictures.
        pools: Threads for work beside the caller; None does all work in the caller's thread.
        timer: Takes the time of each stage.
    """

    def __init__(
        self, network: VOSNetwork, options: Options, size: PaddedSize, pools: ThreadPools | None, timer: StageTimer
    ) -> None:
        self._network = network
        self._top_k = options.top_k
        self._size = size
        self._pools = pools
        self._timer = timer
        self._memory = MemoryBank(options.memory_frames, options.memory_spacing)
        parameter = next(network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._prefetched: tuple[CompressedFrame, Future[Features]] | None = None

    @property
    def indices(self) -> tuple[int, ...]:
        """Presentation indices of the key frames in memory."""
        return self._memory.layout.indices

    @property
    def layout(self) -> MemoryLayout:
        """Which key frames the memory holds, for the resume state."""
        return self._memory.layout

    @property
    def can_prefetch(self) -> bool:
        """Whether `prefetch` has a core to run on."""
        return self._pools is not None

    def prefetch(self, frame: CompressedFrame) -> None:
        """Start to encode a frame that is expected to be key, and drop the one that was expected before."""
        if self._pools is not None and (self._prefetched is None or self._prefetched[0] is not frame):
            self._drop_prefetched()
            self._prefetched = frame, self._pools.beside(self._encode, frame)

    def encode(self, frame: CompressedFrame) -> Features:
        """Return the features of a key frame, prefetched or not."""
        with self._timer.stage("encode"):
            future = self._prefetched[1] if self._prefetched is not None and self._prefetched[0] is frame else None
            # If it has not started, it is faster here, on all cores.
            features = self._encode(frame) if future is None or future.cancel() else future.result()
        self._drop_prefetched()
        return features

    def segment(self, features: Features, hint: Tensor) -> Tensor:
        """Segment a frame.

        Args:
            features: Of the frame, from `encode`.
            hint: Soft masks [K, rows, columns] that are expected in it.

        Returns:
            Logits float32 [K, 1, rows, columns] of the padded picture at stride 4.
        """
        with self._timer.stage("read"):
            padded = self._size.pad_grid(hint).unsqueeze(1).to(self._dtype)
            return self._network.segment(features, self._memory.view(), padded, self._top_k).float()

    def to_full(self, logits: Tensor) -> Tensor:
        """Logits from `segment` -> soft masks [K, padded_height, padded_width]."""
        full = F.interpolate(logits.to(self._device), scale_factor=STRIDE, mode="bilinear", align_corners=False)
        return soft_aggregate(torch.sigmoid(full.squeeze(1)))[1:]

    def memorize(self, index: int, features: Features, masks: Tensor) -> None:
        """Add a key frame with its soft masks [K, padded_height, padded_width] to the memory."""
        with self._timer.stage("memorize"):
            self._memory.add(index, self._start_memorizing(features, masks))

    def reserve(self, layout: MemoryLayout) -> None:
        """Reserve the memory slots of an interrupted run; `restore` fills them."""
        self._memory.reserve(layout)

    def restore(self, frame: CompressedFrame, masks: Tensor) -> None:
        """Memorize a frame with a reserved slot again, with its soft masks [K, padded_height, padded_width]."""
        self._memory.refill(frame.index, self._memorize((self.encode(frame), masks)))

    def _drop_prefetched(self) -> None:
        if self._prefetched is not None:
            self._prefetched[1].cancel()  # has no effect on work that is running or done
            self._prefetched = None

    def _start_memorizing(self, features: Features, masks: Tensor) -> Callable[[], Memory]:
        """Return a function that waits for the memory entry."""
        if self._pools is not None:
            return self._pools.beside(self._memorize, (features, masks)).result
        entry = self._memorize((features, masks))
        return lambda: entry

    def _encode(self, frame: CompressedFrame) -> Features:
        picture = self._network.normalize(rgb_to_tensor(frame.rgb(), self._device)).to(self._dtype)
        return self._network.encode(self._size.pad(picture))

    def _memorize(self, key: tuple[Features, Tensor]) -> Memory:
        features, masks = key
        return self._network.memorize(features, masks.unsqueeze(1).to(self._dtype))
