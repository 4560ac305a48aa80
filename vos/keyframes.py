"""Which frames the base network segments.

`codec` is the policy of Xu & Yao (CVPR 2022, section 3.2): I and P frames. `every:N` is the plain
comparison.
`adaptive` follows the doubt that propagation gathers, so that P frames are carried too while that goes well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from codec.types import CompressedFrame, FrameType
from vos.errors import OptionError


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a frame before it is segmented.

    Attributes:
        from_prompt: Frames since the prompt's, in presentation order.
        latest_key: Frames between the prompt's and the last of the key frames so far, in presentation order.
        since_key: Frames to the nearest key frame so far, in presentation order.
        doubt: How little the carried mask is to be believed on the worst object, 0 to 1.
        support: Share of the frame that references at hand predict, 0 to 1.
    """

    from_prompt: int
    latest_key: int
    since_key: int
    doubt: float
    support: float


class KeyframePolicy(Protocol):
    """Says which frames are key frames."""

    def is_key(self, frame: CompressedFrame, situation: Situation) -> bool:
        """Whether the base network segments this frame."""
        ...


@dataclass(frozen=True, slots=True)
class CodecPolicy:
    """I and P frames are key, B frames are not."""

    def is_key(self, frame: CompressedFrame, situation: Situation) -> bool:  # noqa: ARG002 - the protocol's shape
        """Whether the frame is not a B frame."""
        return frame.type is not FrameType.B


@dataclass(frozen=True, slots=True)
class EveryPolicy:
    """One frame in n is key: the first one of each run of n frames that others may be predicted from.

    A key frame that nothing is predicted from would help no other frame, so the others wait for one that does. With an
    interval of 1 every frame is key.
    """

    interval: int

    def is_key(self, frame: CompressedFrame, situation: Situation) -> bool:
        """Whether the frame is the first useful one of its run."""
        if self.interval == 1:
            return True
        begins_run = situation.from_prompt // self.interval > situation.latest_key // self.interval
        return frame.is_reference and begins_run


@dataclass(frozen=True, slots=True)
class AdaptivePolicy:
    """A frame is key when carrying masks to it goes wrong, or has gone on for long.

    Attributes:
        reference_doubt: Doubt from which a frame that others may be predicted from is key.
        disposable_doubt: The same for frames that nothing depends on: their errors end with them.
        longest_gap: Most frames from one key frame to the next.
        least_support: A frame is key when less of it than this is predicted from frames at hand (a cut, an I frame).
    """

    reference_doubt: float = 0.35
    disposable_doubt: float = 0.6
    longest_gap: int = 8
    least_support: float = 0.3

    def is_key(self, frame: CompressedFrame, situation: Situation) -> bool:
        """Whether the carried mask is too doubtful, or the last key frame too far."""
        limit = self.reference_doubt if frame.is_reference else self.disposable_doubt
        return (
            situation.support < self.least_support
            or situation.doubt > limit
            or (frame.is_reference and situation.since_key >= self.longest_gap)
        )


def parse_policy(text: str) -> KeyframePolicy:
    """Policy by its name in options: "adaptive", "codec" or "every:N".

    Raises:
        OptionError: Another text, or N below 1.
    """
    if text == "adaptive":
        return AdaptivePolicy()
    if text == "codec":
        return CodecPolicy()
    name, _, number = text.partition(":")
    if name == "every" and number.isdecimal() and int(number) > 0:
        return EveryPolicy(int(number))
    raise OptionError(f"keyframes is {text!r}; allowed: adaptive, codec, every:N with N of 1 or more")
