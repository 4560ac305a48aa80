"""The order in which frames are worked on: waves of frames that do not depend on each other.

In decode order each frame waits for the one before it. But a P frame does not need the B frames before it, nor do these
need each other, so that several frames can be worked on at once. This is list scheduling (Graham, 1966) over the next
few frames: of those whose references are done, the first ones in decode order come next. Waves are a function of the
stream alone, whatever the machine, so that a run can be repeated and gone on with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from codec.errors import CodecError
from codec.types import CompressedFrame

WINDOW = 8
"""Frames that are looked at ahead: two groups of a P frame and three B frames."""
LARGEST = 4
"""Most frames of a wave: enough for a few cores, few enough that key frames still come in time."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Frames that do not depend on each other.

    Attributes:
        frames: One or more, in decode order.
        needed: Decode indices that frames of later waves may refer to.
        ahead: Frames of later waves that are at hand already, in decode order.
    """

    frames: tuple[CompressedFrame, ...]
    needed: tuple[int, ...]
    ahead: tuple[CompressedFrame, ...] = ()


def one_by_one(frames: Iterable[CompressedFrame]) -> Iterator[Wave]:
    """Every frame as a wave of its own, in decode order."""
    return (Wave((frame,), frame.available_references) for frame in frames)


def waves(frames: Iterable[CompressedFrame], first: int) -> Iterator[Wave]:
    """Put frames in decode order into waves.

    Args:
        frames: All of a video.
        first: Presentation index of the first frame that there is something to do for. It, those that are decoded
            before it, and those without references, which may begin something new, come in waves of their own, after
            all before them.

    Raises:
        CodecError: As `frames` does, after the waves of the frames before.
    """
    ahead = iter(frames)
    for frame in ahead:
        yield Wave((frame,), frame.available_references)
        if frame.index == first:
            break
    pending: dict[CompressedFrame, tuple[int, ...]] = {}
    reach: tuple[int, ...] = ()
    failure: CodecError | None = None
    more = True
    while more or pending:
        while more and len(pending) < WINDOW:
            try:
                frame = next(ahead)
                pending[frame], reach = frame.motion.references, frame.available_references
            except StopIteration:
                more = False
            except CodecError as error:
                more, failure = False, error
        if pending:
            wave = _ready(pending)
            for frame in wave:
                del pending[frame]
            yield Wave(wave, tuple(sorted({*reach, *chain.from_iterable(pending.values())})), tuple(pending))
    if failure is not None:
        raise failure


def _ready(pending: Mapping[CompressedFrame, tuple[int, ...]]) -> tuple[CompressedFrame, ...]:
    """The first of some frames (with their references, in decode order) that need none of the others."""
    wave: list[CompressedFrame] = []
    waiting: set[int] = set()
    for frame, references in pending.items():
        if len(wave) == LARGEST or not references:
            return tuple(wave) or (frame,)
        if waiting.isdisjoint(references):
            wave.append(frame)
        waiting.add(frame.decode_index)
    return tuple(wave)
