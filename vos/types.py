"""What goes into a segmentation run and what comes out: frozen, checked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from codec.types import FrameType, UInt8Array
from vos.errors import OptionError, PromptError


class MaskSource(StrEnum):
    """Where a frame's mask comes from."""

    PROMPT = "prompt"
    KEY = "key"
    PROPAGATED = "propagated"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The mask that says which objects to follow.

    Attributes:
        labels: uint8 [height, width] in display size and orientation; 0 background, other values object ids.
        index: Presentation index of the frame it belongs to.
    """

    labels: UInt8Array
    index: int = 0

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype != np.uint8:
            raise PromptError(f"a mask is uint8 [height, width]; given: {self.labels.dtype} {list(self.labels.shape)}")
        if not self.labels.any():
            raise PromptError("the mask marks no object: every pixel is 0; mark at least one object with 1 to 255")
        if self.index < 0:
            raise OptionError(f"prompt frame is {self.index}; it must be 0 or more")

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"Prompt(size={width}x{height}, index={self.index}, object_ids={self.object_ids})"

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects, ascending."""
        return tuple(int(i) for i in np.unique(self.labels) if i)


@dataclass(frozen=True, slots=True)
class Options:
    """How to segment.

    Attributes:
        keyframes: "adaptive", "codec" or "every:N".
        start: First frame of the output, by presentation index; None: the prompt's frame.
        end: Frame after the last one of the output; None: the end of the video.
        memory_frames: Most key frames that the memory holds, the first one included.
        memory_spacing: Least distance of the key frames that are kept in memory, in frames.
        top_k: Memory positions that a query position reads from.
        quality: "fast", "balanced" or "best": how many key frames `adaptive` takes, how closely the refiner looks.
        max_key_share: Most key frames that `adaptive` takes, as a share of the frames so far (see
        `vos.keyframes.policy`).
    """

    keyframes: str = "adaptive"
    start: int | None = None
    end: int | None = None
    memory_frames: int = 6
    memory_spacing: int = 5
    top_k: int = 20
    quality: str = "balanced"
    max_key_share: float = 1.0

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise OptionError(f"start is {self.start}; it must be 0 or more")
        if self.end is not None and self.end <= (self.start or 0):
            raise OptionError(f"end is {self.end}; it must be more than start, which is {self.start or 0}")
        if self.memory_frames < 2:
            raise OptionError(
                f"memory_frames is {self.memory_frames}; it must be at least 2: the first and a recent one"
            )
        if self.top_k < 1:
            raise OptionError(f"top_k is {self.top_k}; it must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class FrameMask:
    """The mask of one frame.

    Attributes:
        index: Presentation index.
        pts: Presentation time in the stream's time base, None if it has none.
        time: Presentation time in seconds.
        type: How the frame was coded.
        source: Where the mask comes from.
        labels: uint8 [height, width] in display size and orientation; 0 background, other values object ids.
        scores: Object id -> confidence 0 to 1; 0 for an object that is not in the frame.
    """

    index: int
    pts: int | None
    time: float
    type: FrameType
    source: MaskSource
    labels: UInt8Array
    scores: dict[int, float]

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"FrameMask(index={self.index}, type={self.type}, source={self.source}, size={width}x{height})"


@dataclass(frozen=True, slots=True)
class Stats:
    """What a run cost so far.

    Attributes:
        frames: MaskSource of a mask -> frames that have one from it.
        seconds: Stage -> seconds spent in it: "decode" (pending for frames), "encode", "read",
            "memorize", "warp", "correct", "labels".
    """

    frames: dict[MaskSource, int]
    seconds: dict[str, float]

    @property
    def total(self) -> int:
        """Frames segmented."""
        return sum(self.frames.values())

    @property
    def key_share(self) -> float:
        """Share of frames that the base network segmented, 0 to 1; the prompt's frame counts as one of them."""
        network = self.frames.get(MaskSource.KEY, 0) + self.frames.get(MaskSource.PROMPT, 0)
        return network / self.total if self.total else 0.0
