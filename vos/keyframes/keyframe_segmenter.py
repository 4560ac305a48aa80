"""A memory network on one video: segment key frames with keys and values of earlier ones.

Refining a single frame leaves half of the cores idle. Two things that no mask waits for run there: the memory entry of
the latest key frame, and the features of the next one, because the backbone needs no mask. The policy predicts which
frame that is. Features do not depend on the core that computes them, so masks do not depend on what was ready in time.
A wrong prediction costs its work and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, CompressedFrame
from vos.keyframes.base_network import BaseNetwork, BaseSession, VideoSetup, merge_given
from vos.keyframes.memory_bank import MemoryBank
from vos.keyframes.window import Window, WindowChoice
from vos.masks.geometry import PaddedSize, rgb_to_tensor
from vos.modeling.aggregate import ABSENT_LOGIT, soft_aggregate
from vos.modeling.network import Features, FramePrediction, Memory, VOSNetwork
from vos.runtime.run_state import MemoryLayout
from vos.runtime.stage_timer import StageTimer
from vos.runtime.thread_pools import ThreadPools
from vos.types import Options


def begin_video(network: VOSNetwork | BaseNetwork, setup: VideoSetup) -> BaseSession[Any]:
    """Begin a video with a base network of either kind."""
    if isinstance(network, BaseNetwork):
        return network.begin(setup)
    size = PaddedSize.of(setup.height, setup.width, network.stride)
    return KeyframeSegmenter(network, setup.options, size, setup.pools, setup.timer)


@dataclass(frozen=True, slots=True, eq=False)
class SeenFeatures:
    """What the network sees of a frame.

    Attributes:
        window: The part of the padded picture that it sees.
        features: Features of this part.
    """

    window: Window
    features: Features


class KeyframeSegmenter(BaseSession[SeenFeatures]):
    """Memory network and memory bank of one video.

    Masks and logits are those of the padded picture. Where small objects allow it, the network sees only a window of
    it: hints and masks are cut to the window, and logits are certain of the background around it.

    Args:
        network: Base network, in eval mode.
        options: How many frames the memory holds, and how many positions are read.
        size: Sizes of the video's pictures.
        pools: Threads for work beside the caller; None does all work in the caller's thread.
        timer: Takes the time of each stage.
    """

    empties_absent = False

    def __init__(
        self, network: VOSNetwork, options: Options, size: PaddedSize, pools: ThreadPools | None, timer: StageTimer
    ) -> None:
        super().__init__(size, pools, timer)
        self._network = network
        self._options = options
        self._memory = MemoryBank(options.memory_frames, options.memory_spacing)
        self._windows = WindowChoice(size, network.stride, network.sees_windows)
        self._window = self._windows.whole
        self._objects = 0
        parameter = next(network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype

    @property
    def layout(self) -> MemoryLayout:
        """Which key frames the memory holds."""
        return self._memory.layout

    def encode(self, frame: CompressedFrame, expected: Tensor | None = None) -> SeenFeatures:
        """Return the features of the window around what is expected; of the whole picture if nothing is."""
        self._window = self._windows.choose(expected)
        seen = super().encode(frame)
        if seen.window == self._window:
            return seen
        with self._timer.stage("encode"):  # the objects have left the window that the frame was prefetched with
            return self._encode(frame)

    def prefetch(self, frame: CompressedFrame) -> None:
        """Start to encode the window in which the objects are expected."""
        self._window = self._windows.expected
        super().prefetch(frame)

    def segment(self, features: SeenFeatures, hint: Tensor | None) -> FramePrediction:
        """Segment a frame; the logits have stride 4 of the padded picture."""
        window = features.window
        with self._timer.stage("read"):
            padded = None if hint is None else window.cut(self.size.pad_grid(hint), STRIDE)
            previous = None if padded is None else padded.unsqueeze(1).to(self._dtype)
            found = self._network.predict(features.features, self._memory.view(), previous, self._options.top_k)
            logits = window.place(found.logits.float(), self.size, STRIDE, ABSENT_LOGIT)
            return FramePrediction(logits, found.presence)

    def to_full(self, logits: Tensor) -> Tensor:
        """Logits from `segment` -> soft masks [K, padded_height, padded_width]."""
        full = F.interpolate(logits.to(self._device), scale_factor=STRIDE, mode="bilinear", align_corners=False)
        return soft_aggregate(torch.sigmoid(full.squeeze(1)))[1:]

    def memorize(self, index: int, features: SeenFeatures, masks: Tensor) -> None:
        """Add a key frame to the memory, which drops an older one if it is full."""
        self._add(index, features, masks, permanent=False)

    def prompt(self, index: int, features: SeenFeatures, masks: Mapping[int, Tensor]) -> Tensor:
        """Memorize given masks. Entries of earlier frames lack new objects, so the memory then begins again here."""
        known, self._objects = self._objects, max(self._objects, max(masks) + 1)
        if masks.keys() >= set(range(known)):
            merged = torch.stack([masks[k] for k in range(self._objects)])
        else:
            merged = merge_given(self.to_full(self.segment(features, None).logits), masks)
        if 0 < known < self._objects:
            self._memory = MemoryBank(self._options.memory_frames, self._options.memory_spacing)
        self._add(index, features, merged, permanent=True)
        return merged

    def capture(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return the windows, which masks do not tell."""
        return self._windows.capture()

    def reserve(self, layout: MemoryLayout, captured: Mapping[str, npt.NDArray[Any]]) -> None:
        """Reserve the memory slots of an interrupted run; `restore` fills them."""
        self._memory.reserve(layout)
        self._windows.restore(captured)

    def restore(self, frame: CompressedFrame, masks: Tensor) -> None:
        """Memorize a frame with a reserved slot again."""
        self._objects = max(self._objects, len(masks))
        self._window = self._windows.of(frame.index)
        self._memory.refill(frame.index, self._memorize((super().encode(frame), masks)))

    def _add(self, index: int, features: SeenFeatures, masks: Tensor, *, permanent: bool) -> None:
        with self._timer.stage("memorize"):
            self._memory.add(index, self._start_memorizing(features, masks), permanent=permanent)
        self._windows.memorize(index, features.window, self._memory.layout.indices)
        self._windows.expect(masks)

    def _start_memorizing(self, features: SeenFeatures, masks: Tensor) -> Callable[[], Memory]:
        """Return a function that waits for the memory entry."""
        if self._pools is not None:
            return self._pools.beside(self._memorize, (features, masks)).result
        entry = self._memorize((features, masks))
        return lambda: entry

    def _encode(self, frame: CompressedFrame) -> SeenFeatures:
        window = self._window
        part, padding = window.in_picture(self.size)
        rgb = rgb_to_tensor(np.ascontiguousarray(frame.rgb()[part]), self._device)
        picture = self._network.normalize(rgb).to(self._dtype)
        return SeenFeatures(window, self._network.encode(F.pad(picture, padding)))

    def _memorize(self, key: tuple[SeenFeatures, Tensor]) -> Memory:
        seen, masks = key
        return self._network.memorize(seen.features, seen.window.cut(masks).unsqueeze(1).to(self._dtype))
