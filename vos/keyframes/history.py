"""Where the key frames of a session lie, as far as the key-frame policy needs to know."""

from __future__ import annotations

from codec.types import CompressedFrame
from vos.keyframes.policy import FrameContext

_RECENT_KEYS = 32
"""Key frames whose positions are kept, to find the one nearest to a frame."""


class KeyframeHistory:
    """Counts of frames and key frames, and the positions of recent key frames.

    Attributes:
        recent: Presentation indices of recent key frames, the latest one last.
        key_count: Key frames so far, including the prompt frame.
        frame_count: Frames so far.

    Args:
        prompt_index: Presentation index of the prompt frame.
    """

    def __init__(self, prompt_index: int) -> None:
        self._prompt_index = prompt_index
        self.recent: tuple[int, ...] = ()
        self.key_count = 0
        self.frame_count = 0

    def add_key(self, index: int) -> None:
        """Add a key frame by its presentation index."""
        self.recent = (*self.recent[-_RECENT_KEYS:], index)
        self.key_count += 1

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
