"""The key frames of a session so far: their positions, logits and uncertainty."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.types import CompressedFrame
from vos.keyframes.policy import FrameContext
from vos.modeling.aggregate import soft_aggregate
from vos.refinement.mask_refiner import mask_uncertainty

_RECENT_KEYS = 32
"""Key frames whose positions are kept, to find the one nearest to a frame."""


class KeyframeHistory:
    """Key frames so far, as far as later frames depend on them.

    Args:
        prompt_index: Presentation index of the prompt frame.
        objects: Number of objects, K.
        device: Device of the masks.

    Attributes:
        recent: Presentation indices of recent key frames, the latest one last.
        key_count: Key frames so far, including the prompt frame.
        frame_count: Frames so far.
        logits: Presentation index -> logits of the base network, float32 [K, 1, rows, columns] at stride 4, for key
            frames that the memory bank or the refiner holds. The prompt frame has none, because its mask is given.
    """

    def __init__(self, prompt_index: int, objects: int, device: torch.device) -> None:
        self._prompt_index = prompt_index
        self._certain = torch.zeros(objects, device=device)
        self._uncertainty: Tensor | None = None
        self.recent: tuple[int, ...] = ()
        self.key_count = 0
        self.frame_count = 0
        self.logits: dict[int, Tensor] = {}

    def add(self, index: int, logits: Tensor | None, memorized: set[int]) -> None:
        """Add a key frame by its presentation index, and drop the logits of frames that are not memorized."""
        self.recent = (*self.recent[-_RECENT_KEYS:], index)
        self.key_count += 1
        self.logits = {i: kept for i, kept in self.logits.items() if i in memorized}
        if logits is not None:
            self.logits[index] = logits
        self._uncertainty = None

    def uncertainty(self) -> Tensor:
        """Uncertainty per object of the latest key frame, float32 [K]; 0 for the prompt frame.

        Another key frame would be about as uncertain, so only what exceeds this is a reason for one.
        """
        if self._uncertainty is None:
            logits = self.logits.get(self.recent[-1])
            if logits is None:
                self._uncertainty = self._certain
            else:
                probabilities = torch.sigmoid(logits.to(self._certain.device).squeeze(1))
                self._uncertainty = mask_uncertainty(soft_aggregate(probabilities)[1:])
        return self._uncertainty

    def context(
        self, frame: CompressedFrame, *, uncertainty: float, reference_coverage: float, lost: bool
    ) -> FrameContext:
        """Return what the policy needs to know to decide on a frame."""
        return FrameContext(
            position=frame.index - self._prompt_index,
            latest_key=max(self.recent) - self._prompt_index,
            key_distance=min(abs(frame.index - key) for key in self.recent),
            uncertainty=uncertainty,
            reference_coverage=reference_coverage,
            lost=lost,
            key_count=self.key_count,
            frame_count=self.frame_count,
        )
