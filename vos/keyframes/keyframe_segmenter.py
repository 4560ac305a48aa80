"""The base network on one video: key frames are segmented with a memory of those before.

A frame that is propagated leaves a core idle while it is refined, and there are two things to do that no mask waits for:
what the memory takes from the latest key frame, and the features of the next one, for the backbone needs no mask. Which
frame that will be is foretold from stream, policy and masks so far, and features are the same on whatever core they are
computed, so that masks do not depend on what was ready in time. A frame that was foretold and is not key after all
costs the work and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, CompressedFrame
from vos.geometry import PaddedSize, rgb_to_tensor
from vos.keyframes.memory_bank import MemoryBank
from vos.modeling.aggregate import soft_aggregate
from vos.modeling.network import Features, Memory, VOSNetwork
from vos.runtime.run_state import MemoryLayout
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools
from vos.types import Options


class KeyframeSegmenter:
    """Network and memory of one video.

    Args:
        network: In eval mode.
        options: How much is refiner_keys and read.
        canvas: Sizes of the video's pictures.
        pools: Where to work beside the caller; None works at once.
        watch: Takes the time of each stage.
        layout: The key frames that the memory is to hold, in a run that goes on; `restore` brings them.
    """

    def __init__(  # noqa: PLR0917 - made in one place
        self, network: VOSNetwork, options: Options, canvas: PaddedSize, pools: ThreadPools | None, watch: StageTimer,
        layout: MemoryLayout | None,
    ) -> None:  # fmt: skip
        self._network = network
        self._top_k = options.top_k
        self._canvas = canvas
        self._workers = pools
        self._watch = watch
        self._memory = MemoryBank(options.memory_frames, options.memory_spacing, layout)
        parameter = next(network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._begun: tuple[CompressedFrame, Future[Features]] | None = None

    @property
    def indices(self) -> tuple[int, ...]:
        """Presentation indices of the key frames in memory."""
        return self._memory.indices

    @property
    def layout(self) -> MemoryLayout:
        """The key frames in memory, for a run that goes on."""
        return self._memory.layout

    @property
    def works_ahead(self) -> bool:
        """Whether it is worth foretelling the next key frame."""
        return self._workers is not None

    def begin(self, frame: CompressedFrame) -> None:
        """Begin a frame that will be key as things stand; what was begun for another one is given up."""
        if self._workers is not None and (self._begun is None or self._begun[0] is not frame):
            self._give_up()
            self._begun = frame, self._workers.beside(self._features, frame)

    def encode(self, frame: CompressedFrame) -> Features:
        """Features of a key frame, waited for where they were begun."""
        with self._watch.stage("encode"):
            begun = self._begun[1] if self._begun is not None and self._begun[0] is frame else None
            # What has not been started is sooner done here, with all cores.
            features = self._features(frame) if begun is None or begun.cancel() else begun.result()
        self._give_up()
        return features

    def segment(self, features: Features, hint: Tensor) -> Tensor:
        """Segment a frame.

        Args:
            features: That `encode` gave.
            hint: The soft masks [K, rows, columns] that are expected in it.

        Returns:
            Logits float32 [K, 1, rows, columns] of the padded picture at stride 4.
        """
        with self._watch.stage("read"):
            padded = self._canvas.pad_grid(hint).unsqueeze(1).to(self._dtype)
            return self._network.segment(features, self._memory.view(), padded, self._top_k).float()

    def memorize(self, index: int, features: Features, masks: Tensor) -> None:
        """Remember a key frame with its soft masks [K, padded_height, padded_width]."""
        with self._watch.stage("memorize"):
            self._memory.add(index, self._coming(features, masks))

    def restore(self, frame: CompressedFrame, masks: Tensor) -> None:
        """Bring a frame that the memory is to hold, with its soft masks [K, padded_height, padded_width]."""
        self._memory.refill(frame.index, self._entry((self.encode(frame), masks)))

    def to_full(self, logits: Tensor) -> Tensor:
        """The logits that `segment` gave -> soft masks [K, padded_height, padded_width]."""
        full = F.interpolate(logits.to(self._device), scale_factor=STRIDE, mode="bilinear", align_corners=False)
        return soft_aggregate(torch.sigmoid(full.squeeze(1)))[1:]

    def _give_up(self) -> None:
        if self._begun is not None:
            self._begun[1].cancel()  # no effect on what runs or is done
            self._begun = None

    def _coming(self, features: Features, masks: Tensor) -> Callable[[], Memory]:
        if self._workers is not None:
            return self._workers.beside(self._entry, (features, masks)).result
        entry = self._entry((features, masks))
        return lambda: entry

    def _features(self, frame: CompressedFrame) -> Features:
        picture = self._network.normalize(rgb_to_tensor(frame.rgb(), self._device)).to(self._dtype)
        return self._network.encode(self._canvas.pad(picture))

    def _entry(self, key: tuple[Features, Tensor]) -> Memory:
        features, masks = key
        return self._network.memorize(features, masks.unsqueeze(1).to(self._dtype))


# ruff: noqa: E501
