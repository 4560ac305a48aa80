"""Which frames the base network segments.

`codec` is the policy of Xu & Yao (CVPR 2022, section 3.2): I and P frames. `every:N` is the baseline with a fixed
interval. `adaptive` propagates P frames too, as long as the uncertainty of the masks stays low.

Importing this module does not load torch: `vos.probe.forecast` and the API process use it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar, Protocol

from codec.types import CompressedFrame, FrameType
from vos.errors import OptionError

QUALITIES = ("fast", "balanced", "best")
"""Settings of `adaptive`, from few key frames to many."""
KEYFRAME_ALLOWANCE = 2
"""Key frames granted on top of a maximum key share: a video may need some before many frames have passed."""
LEAST_REFERENCE_COVERAGE = 0.3
"""Reference coverage below which `adaptive` takes a key frame (a cut, an I frame)."""
LOST_GAP = 4
"""Longest gap of `adaptive` while an object is lost, since only the base network can find it again."""
_NO_LIMIT = 1e9
"""More frames than any video has."""


@dataclass(frozen=True, slots=True)
class FrameContext:
    """State of a session when it decides on a frame. Distances are in presentation order.

    Attributes:
        position: Frames after the prompt frame.
        latest_key: Position of the last key frame so far.
        key_distance: Frames to the nearest key frame so far.
        uncertainty: Of the worst object, 0 to 1. Before refinement: as propagated. After it: what exceeds the
            uncertainty of the latest key frame.
        reference_coverage: Share of the frame that available references predict, 0 to 1.
        lost: Whether some object has no pixel in the mask: it left the picture, or propagation lost it.
        key_count: Key frames so far, including the prompt frame.
        frame_count: Frames so far.
    """

    position: int
    latest_key: int
    key_distance: int
    uncertainty: float
    reference_coverage: float
    lost: bool
    key_count: int
    frame_count: int


class KeyframePolicy(Protocol):
    """Decides which frames are key frames."""

    @property
    def propagates(self) -> bool:
        """Whether any frame can be other than a key frame."""
        ...

    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return whether the base network segments this frame, before refinement."""
        ...

    def will_be_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return whether a future frame will be key, provided that no frame before it becomes one."""
        ...

    def is_key_after_refinement(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return whether the base network segments this frame although it has been refined."""
        ...


class FixedPolicy(ABC):
    """A policy that ignores masks, so every key frame is known in advance."""

    @abstractmethod
    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return whether the base network segments this frame."""

    def will_be_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return the same as `is_key`."""
        return self.is_key(frame, context)

    def is_key_after_refinement(self, frame: CompressedFrame, context: FrameContext) -> bool:  # noqa: ARG002
        """Return False."""
        return False


@dataclass(frozen=True, slots=True)
class CodecPolicy(FixedPolicy):
    """I and P frames are key frames, B frames are not."""

    propagates: ClassVar[bool] = True

    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:  # noqa: ARG002 - required by the protocol
        """Return whether the frame is an I or P frame."""
        return frame.type is not FrameType.B


@dataclass(frozen=True, slots=True)
class EveryPolicy(FixedPolicy):
    """One key frame per `interval` frames.

    A key frame that no frame refers to improves no other mask, so the key frame of each interval is its first
    reference frame. With an interval of 1 every frame is key.
    """

    interval: int

    @property
    def propagates(self) -> bool:
        """Whether any frame can be other than a key frame."""
        return self.interval > 1

    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return whether the frame is the first reference frame of its interval."""
        if self.interval == 1:
            return True
        begins_interval = context.position // self.interval > context.latest_key // self.interval
        return frame.is_reference and begins_interval


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """A reference frame is key when its masks are too uncertain, or when the last key frame is too far away.

    Other frames are propagated and refined, since their errors spread no further. Any frame is key if references cover
    too little of it. While an object is lost, the longest gap is `LOST_GAP`.

    Attributes:
        max_uncertainty: Uncertainty above which a reference frame is key.
        longest_gap: Maximum distance from one key frame to the next.
        refined: Whether masks are refined, so that uncertainty is judged after refinement.
        max_key_share: Upper bound on the share of key frames among the frames so far, plus `KEYFRAME_ALLOWANCE`.
    """

    max_uncertainty: float
    longest_gap: int
    refined: bool = False
    max_key_share: float = 1.0
    propagates: ClassVar[bool] = True

    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return whether propagation to the frame fails, or the last key frame is too far away."""
        return self._may_be_key(context) and (
            context.reference_coverage < LEAST_REFERENCE_COVERAGE
            or self._too_far(frame, context)
            or (not self.refined and self._too_uncertain(frame, context))
        )

    def will_be_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return whether the last key frame will be too far away."""
        return self._may_be_key(context) and self._too_far(frame, context)

    def is_key_after_refinement(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Return whether the refined mask is still too uncertain."""
        return self._may_be_key(context) and self._too_uncertain(frame, context)

    def _may_be_key(self, context: FrameContext) -> bool:
        allowed = self.max_key_share * (context.frame_count + 1) + KEYFRAME_ALLOWANCE
        return self.max_key_share >= 1 or context.key_count + 1 <= allowed

    def _too_far(self, frame: CompressedFrame, context: FrameContext) -> bool:
        gap = min(LOST_GAP, self.longest_gap) if context.lost else self.longest_gap
        return frame.is_reference and context.key_distance >= gap

    def _too_uncertain(self, frame: CompressedFrame, context: FrameContext) -> bool:
        return frame.is_reference and context.uncertainty > self.max_uncertainty


# Both tables were tuned on training sequences.
PROPAGATED = {
    "fast": AdaptivePolicy(max_uncertainty=0.45, longest_gap=12),
    "balanced": AdaptivePolicy(max_uncertainty=0.35, longest_gap=8),
    "best": AdaptivePolicy(max_uncertainty=0.25, longest_gap=5),
}
"""Quality -> policy without a refiner."""
REFINED = {
    "fast": AdaptivePolicy(max_uncertainty=0.35, longest_gap=8, refined=True),
    "balanced": AdaptivePolicy(max_uncertainty=0.25, longest_gap=5, refined=True),
    "best": AdaptivePolicy(max_uncertainty=0.2, longest_gap=3, refined=True),
}
"""Quality -> policy with a refiner."""


def parse_policy(
    text: str, *, quality: str = "balanced", max_key_share: float = 1.0, refined: bool = False
) -> KeyframePolicy:
    """Return the policy of an option's value: "adaptive", "codec" or "every:N".

    Args:
        text: The value.
        quality: One of `QUALITIES`; only "adaptive" depends on it.
        max_key_share: Above 0 and at most 1; below 1 only for "adaptive".
        refined: Whether a refiner refines propagated masks.

    Raises:
        OptionError: The text is another one or N is below 1, or the quality or share is not allowed.
    """
    if quality not in QUALITIES:
        raise OptionError(f"quality is {quality!r}; allowed: {', '.join(QUALITIES)}")
    if not 0 < max_key_share <= 1:
        raise OptionError(f"max_key_share is {max_key_share}; it must be above 0 and at most 1")
    if text == "adaptive":
        policy = (REFINED if refined else PROPAGATED)[quality]
        # A gap shorter than the share allows would spend all key frames on the start of the video. The gap for lost
        # objects stays, because nothing but a key frame finds them again.
        gap = max(policy.longest_gap, ceil(min(1 / max_key_share, _NO_LIMIT)))
        return replace(policy, max_key_share=max_key_share, longest_gap=gap)
    if max_key_share < 1 and (text == "codec" or text.startswith("every:")):
        raise OptionError(f"max_key_share is {max_key_share}; only adaptive keeps a share, and keyframes is {text!r}")
    if text == "codec":
        return CodecPolicy()
    name, _, number = text.partition(":")
    if name == "every" and number.isdecimal() and int(number) > 0:
        return EveryPolicy(int(number))
    raise OptionError(f"keyframes is {text!r}; allowed: adaptive, codec, every:N with N of 1 or more")
