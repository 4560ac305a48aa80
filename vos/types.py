"""Input and output types of a segmentation run. All are frozen, and input is validated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from codec.types import CompressedFrame, FrameType, UInt8Array
from vos.errors import OptionError, PromptError

EDGES = ("refined", "raw")


class MaskSource(StrEnum):
    """Where the mask of a frame comes from. A person gave those of prompt frames and of corrected ones."""

    PROMPT = "prompt"
    CORRECTED = "corrected"
    KEY = "key"
    PROPAGATED = "propagated"
    FALLBACK = "fallback"


GIVEN = (MaskSource.PROMPT, MaskSource.CORRECTED)
"""Sources of the masks that a person gave."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The mask that marks objects in one frame.

    Attributes:
        labels: uint8 [height, width] in display size and orientation; 0 is background, other values are object ids.
        index: Presentation index of the prompt frame, which the mask belongs to.
        absent: Ids of objects that are known not to be in the frame, ascending. Only a frame after the first prompt has
            them.
        source: What the frame's mask is called, one of `GIVEN`.
    """

    labels: UInt8Array
    index: int = 0
    absent: tuple[int, ...] = ()
    source: MaskSource = MaskSource.PROMPT

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or self.labels.dtype != np.uint8:
            raise PromptError(f"a mask is uint8 [height, width]; given: {self.labels.dtype} {list(self.labels.shape)}")
        if not self.labels.any() and not self.absent:
            raise PromptError("the mask marks no object: every pixel is 0; mark at least one object with 1 to 255")
        if self.index < 0:
            raise OptionError(f"prompt frame is {self.index}; it must be 0 or more")
        if marked := set(self.absent) & set(self.object_ids):
            raise PromptError(f"object {min(marked)} is both marked and absent in frame {self.index}")

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"Prompt(size={width}x{height}, index={self.index}, object_ids={self.object_ids}, absent={self.absent})"

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects, ascending."""
        return tuple(int(i) for i in np.unique(self.labels) if i)

    @property
    def given_ids(self) -> tuple[int, ...]:
        """Ids of the objects of which the prompt says where they are, or that they are not there."""
        return tuple(sorted((*self.object_ids, *self.absent)))


Remembered: TypeAlias = tuple[CompressedFrame, Prompt]
"""A frame with the masks of all objects, which networks remember."""


def object_ids_of(prompts: Iterable[Prompt]) -> tuple[int, ...]:
    """Return the ids of all objects that prompts mark, ascending.

    Raises:
        PromptError: An object is absent in one frame and marked in none.
    """
    prompts = tuple(prompts)
    marked = {i for prompt in prompts for i in prompt.object_ids}
    for prompt in prompts:
        if unknown := set(prompt.absent) - marked:
            raise PromptError(f"object {min(unknown)} is absent in frame {prompt.index}, but no prompt marks it")
    return tuple(sorted(marked))


@dataclass(frozen=True, slots=True)
class Options:
    """How to segment.

    Attributes:
        keyframes: "adaptive", "codec" or "every:N".
        start: Presentation index of the first frame of the output; None for the prompt frame.
        end: Presentation index after the last frame of the output; None for the end of the video.
        memory_frames: Maximum number of key frames in the memory bank, including the first one.
        memory_spacing: Minimum distance in frames of the key frames that stay in the memory bank.
        top_k: Memory positions that each query position reads.
        quality: "fast", "balanced" or "best". Sets how many key frames `adaptive` takes, and how much work the refiner
            may do.
        max_key_share: Maximum share of key frames among the frames so far under `adaptive`, above 0 to 1.
        edges: "refined" lets the edges of masks follow the picture at its full size, "raw" leaves them as the networks
            made them, smoothly enlarged.
        soft: Whether masks keep the soft masks that they are made from.
    """

    keyframes: str = "adaptive"
    start: int | None = None
    end: int | None = None
    memory_frames: int = 6
    memory_spacing: int = 5
    top_k: int = 20
    quality: str = "balanced"
    max_key_share: float = 1.0
    edges: str = "refined"
    soft: bool = False

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise OptionError(f"start is {self.start}; it must be 0 or more")
        if self.end is not None and self.end <= (self.start or 0):
            raise OptionError(f"end is {self.end}; it must be more than start, which is {self.start or 0}")
        if self.memory_frames < 2:
            raise OptionError(
                f"memory_frames is {self.memory_frames}; it must be at least 2: the first and a recent one"
            )
        if self.edges not in EDGES:
            raise OptionError(f"edges is {self.edges!r}; allowed: {', '.join(EDGES)}")
        if self.top_k < 1:
            raise OptionError(f"top_k is {self.top_k}; it must be at least 1")


@dataclass(frozen=True, slots=True, eq=False)
class SoftMask:
    """The soft mask of one object in one frame, as the networks or the propagation made it.

    Attributes:
        values: uint8 [rows, columns] in coded orientation; 255 is a probability of 1.
        extent: Height and width of the picture in cells, which is less than a whole number where the last cells reach
            beyond it.
    """

    values: UInt8Array
    extent: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class FrameMask:
    """The mask of one frame.

    Attributes:
        index: Presentation index.
        pts: Presentation time in the stream's time base; None if the stream has none.
        time: Presentation time in seconds.
        type: Frame type of the bitstream.
        source: Where the mask comes from.
        labels: uint8 [height, width] in display size and orientation; 0 is background, other values are object ids.
        scores: Object id -> confidence, 0 to 1; 0 for an object that is not in the frame.
        soft: Object id -> soft mask that `labels` were made from; an object whose mask was given has none. None without
            the option `soft`.
    """

    index: int
    pts: int | None
    time: float
    type: FrameType
    source: MaskSource
    labels: UInt8Array
    scores: dict[int, float]
    soft: Mapping[int, SoftMask] | None = None

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"FrameMask(index={self.index}, type={self.type}, source={self.source}, size={width}x{height})"


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a run so far.

    Attributes:
        frames: Source of a mask -> number of frames in the output.
        seconds: Stage -> seconds. The stages are "decode" (waiting for frames), "encode", "read" and "memorize" (base
            network), "warp" (propagation), "correct" (refinement) and "labels".
        before_start: Source of a mask -> number of frames from the prompt frame to the start of the output, which are
            segmented, too.
    """

    frames: dict[MaskSource, int]
    seconds: dict[str, float]
    before_start: dict[MaskSource, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Frames in the output."""
        return sum(self.frames.values())

    @property
    def segmented(self) -> int:
        """Frames segmented, also before the start of the output."""
        return self.total + sum(self.before_start.values())

    @property
    def network_runs(self) -> int:
        """Frames that the base network encoded: key frames and given ones, also before the start."""
        counts = Counter(self.frames) + Counter(self.before_start)
        return counts[MaskSource.KEY] + sum(counts[source] for source in GIVEN)

    @property
    def key_share(self) -> float:
        """Share of key frames among the segmented frames, 0 to 1; the prompt frame counts as one."""
        return self.network_runs / self.segmented if self.segmented else 0.0
