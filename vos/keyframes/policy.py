"""Which frames the base network segments.

`codec` is the policy of Xu & Yao (CVPR 2022, section 3.2): I and P frames. `every:N` is the plain
comparison.
`adaptive` follows the uncertainty that propagation gathers, or with a refiner how mask_uncertainty the refined masks are, so
that P frames are propagated too while that goes well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar, Protocol

from codec.types import CompressedFrame, FrameType
from vos.errors import OptionError


@dataclass(frozen=True, slots=True)
class FrameContext:
    """What is known of a frame before it is segmented.

    Attributes:
        from_prompt: Frames since the prompt's, in presentation order.
        latest_key: Frames between the prompt's and the last of the key frames so far, in presentation order.
        since_key: Frames to the nearest key frame so far, in presentation order.
        uncertainty: How little the mask of the worst object is to be believed, 0 to 1: as propagated, or as refined, in excess
            of what is doubtful in the latest key frame too.
        reference_coverage: Share of the frame that references at hand predict, 0 to 1.
        lost: Whether an object is in no pixel of the mask: it left, or it was lost.
        key_count: Key frames so far, the prompt's included.
        frame_count: Frames so far.
    """

    from_prompt: int
    latest_key: int
    since_key: int
    uncertainty: float
    reference_coverage: float
    lost: bool
    key_count: int
    frame_count: int


class KeyframePolicy(Protocol):
    """Says which frames are key frames."""

    @property
    def propagates(self) -> bool:
        """Whether any frame may be other than key."""
        ...

    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether the base network segments this frame."""
        ...

    def will_be_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether it will, however well carrying goes, if no frame before it becomes key."""
        ...

    def is_key_after_refinement(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether it does so although the refiner has already done what it can."""
        ...


class FixedPolicy(ABC):
    """What is decided before anything is propagated stays so."""

    @abstractmethod
    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether the base network segments this frame."""

    def will_be_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether it will be key: that is known."""
        return self.is_key(frame, context)

    def is_key_after_refinement(self, frame: CompressedFrame, context: FrameContext) -> bool:  # noqa: ARG002
        """Never."""
        return False


@dataclass(frozen=True, slots=True)
class CodecPolicy(FixedPolicy):
    """I and P frames are key, B frames are not."""

    propagates: ClassVar[bool] = True

    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:  # noqa: ARG002 - the protocol's shape
        """Whether the frame is not a B frame."""
        return frame.type is not FrameType.B


@dataclass(frozen=True, slots=True)
class EveryPolicy(FixedPolicy):
    """One frame in n is key: the first one of each run of n frames that others may be predicted from.

    A key frame that nothing is predicted from would help no other frame, so the others wait for one that does. With an
    interval of 1 every frame is key.
    """

    interval: int

    @property
    def propagates(self) -> bool:
        """Whether any frame may be other than key."""
        return self.interval > 1

    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether the frame is the first useful one of its run."""
        if self.interval == 1:
            return True
        begins_run = context.from_prompt // self.interval > context.latest_key // self.interval
        return frame.is_reference and begins_run


KEYFRAME_ALLOWANCE = 2
"""Key frames that a bound on their share grants beyond it: a video may need some before many frames have passed."""


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """A frame is key when carrying masks to it goes wrong, or has gone on for long.

    Attributes:
        reference_uncertainty: Doubt from which a frame that others may be predicted from is key.
        disposable_uncertainty: The same for frames that nothing depends on: their errors end with them.
        longest_gap: Most frames from one key frame to the next.
        lost_gap: The same while an object is not to be seen: only the base network finds it again.
        least_reference_coverage: A frame is key when less of it than this is predicted from frames at hand (a cut, an I frame).
        refined: Whether uncertainty says something only after the refiner has looked.
        max_key_share: Most key frames, as a share of the frames so far, with `KEYFRAME_ALLOWANCE` granted on top.
    """

    reference_uncertainty: float = 0.35
    disposable_uncertainty: float = 0.6
    longest_gap: int = 8
    lost_gap: int = 4
    least_reference_coverage: float = 0.3
    refined: bool = False
    max_key_share: float = 1.0
    propagates: ClassVar[bool] = True

    def is_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether the last key frame is too far, or carrying has failed."""
        return self._may_be_key(context) and (
            context.reference_coverage < self.least_reference_coverage
            or self._too_far(frame, context)
            or (not self.refined and self._too_uncertain(frame, context))
        )

    def will_be_key(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether the last key frame is too far."""
        return self._may_be_key(context) and self._too_far(frame, context)

    def is_key_after_refinement(self, frame: CompressedFrame, context: FrameContext) -> bool:
        """Whether the refined mask is still too doubtful."""
        return self._may_be_key(context) and self._too_uncertain(frame, context)

    def _may_be_key(self, context: FrameContext) -> bool:
        allowed = self.max_key_share * (context.frame_count + 1) + KEYFRAME_ALLOWANCE
        return self.max_key_share >= 1 or context.key_count + 1 <= allowed

    def _too_far(self, frame: CompressedFrame, context: FrameContext) -> bool:
        return frame.is_reference and context.since_key >= (self.lost_gap if context.lost else self.longest_gap)

    def _too_uncertain(self, frame: CompressedFrame, context: FrameContext) -> bool:
        return context.uncertainty > (self.reference_uncertainty if frame.is_reference else self.disposable_uncertainty)


_NEVER = 1e9
"""More frames than a video has."""
QUALITIES = ("fast", "balanced", "best")
"""The dial of `adaptive`, from few key frames to many."""
_CARRIED = {
    "fast": AdaptivePolicy(reference_uncertainty=0.45, disposable_uncertainty=0.7, longest_gap=12),
    "balanced": AdaptivePolicy(),
    "best": AdaptivePolicy(reference_uncertainty=0.25, disposable_uncertainty=0.45, longest_gap=5),
}
"""Without a refiner. Set on training sequences."""
_REPAIRED = {
    "fast": AdaptivePolicy(reference_uncertainty=0.35, disposable_uncertainty=0.6, refined=True),
    "balanced": AdaptivePolicy(reference_uncertainty=0.25, disposable_uncertainty=0.5, longest_gap=5, refined=True),
    "best": AdaptivePolicy(
        reference_uncertainty=0.2, disposable_uncertainty=0.4, longest_gap=3, lost_gap=3, refined=True
    ),
}
"""With one. Set on training sequences too."""


def parse_policy(
    text: str, *, quality: str = "balanced", max_key_share: float = 1.0, refined: bool = False
) -> KeyframePolicy:
    """Policy by its name in options: "adaptive", "codec" or "every:N".

    Args:
        text: The name.
        quality: One of `QUALITIES`; "adaptive" depends on it.
        max_key_share: Above 0, at most 1; below 1 for "adaptive" only.
        refined: Whether a refiner looks at propagated masks.

    Raises:
        OptionError: Another text, or N below 1; a quality or share that does not exist.
    """
    if quality not in QUALITIES:
        raise OptionError(f"quality is {quality!r}; allowed: {', '.join(QUALITIES)}")
    if not 0 < max_key_share <= 1:
        raise OptionError(f"max_key_share is {max_key_share}; it must be above 0 and at most 1")
    if text == "adaptive":
        policy = (_REPAIRED if refined else _CARRIED)[quality]
        # With smaller gaps than the share allows, the first frames would use it up and the last ones get nothing. While
        # an object is lost, key frames may come sooner nevertheless: nothing else finds it again.
        gap = max(policy.longest_gap, ceil(min(1 / max_key_share, _NEVER)))
        return replace(policy, max_key_share=max_key_share, longest_gap=gap)
    if max_key_share < 1 and (text == "codec" or text.startswith("every:")):
        raise OptionError(f"max_key_share is {max_key_share}; only adaptive keeps a share, and keyframes is {text!r}")
    if text == "codec":
        return CodecPolicy()
    name, _, number = text.partition(":")
    if name == "every" and number.isdecimal() and int(number) > 0:
        return EveryPolicy(int(number))
    raise OptionError(f"keyframes is {text!r}; allowed: adaptive, codec, every:N with N of 1 or more")


# ruff: noqa: E501
