"""Order frames into waves, so that the frames of a wave can be computed side by side.

In decode order each frame waits for the one before it. But a P frame does not need the B frames before it, and neither
do these need each other. This is list scheduling (Graham, 1966) over the next few frames: of the frames whose
references are done, the first ones in decode order come next. Waves depend on the stream alone and not on the machine,
so that a run can be repeated and resumed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from codec.errors import CodecError
from codec.types import CompressedFrame

WINDOW = 8
"""Frames that are read ahead: two groups of a P frame and three B frames."""
LARGEST = 4
"""Maximum frames of a wave: enough for a few cores, few enough that key frames come in time."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Frames that do not depend on each other.

    Attributes:
        frames: One or more frames in decode order.
        needed: Decode indices that frames of later waves may refer to.
        ahead: Frames of later waves that have been read already, in decode order.
    """

    frames: tuple[CompressedFrame, ...]
    needed: tuple[int, ...]
    ahead: tuple[CompressedFrame, ...] = ()


def one_by_one(frames: Iterable[CompressedFrame]) -> Iterator[Wave]:
    """Yield each frame as a wave, in decode order."""
    return (Wave((frame,), frame.available_references) for frame in frames)


def in_prompt_order(frames: Iterable[CompressedFrame], prompts: Collection[int]) -> Iterator[CompressedFrame]:
    """Hold back frames that are decoded before a prompt frame but shown after it, so that the prompt reaches them.

    Args:
        frames: Frames in decode order.
        prompts: Presentation indices of the prompt frames.

    Yields:
        The frames, each with the references that the frames after it need in this order.
    """
    ahead = sorted(prompts, reverse=True)
    held: list[CompressedFrame] = []
    for frame in frames:
        held.append(frame)
        while (due := next((f for f in held if not ahead or f.index <= ahead[-1]), None)) is not None:
            held.remove(due)
            needed = {*frame.available_references, *chain.from_iterable(f.motion.references for f in held)}
            is_changed = needed != set(due.available_references)
            yield replace(due, available_references=tuple(sorted(needed))) if is_changed else due
            if ahead and due.index == ahead[-1]:
                ahead.pop()
    yield from held


def waves(frames: Iterable[CompressedFrame], first: int, prompts: Collection[int] = ()) -> Iterator[Wave]:
    """Group frames in decode order into waves.

    Args:
        frames: All frames of a video.
        first: Presentation index of the first prompt frame. It and the frames before it form waves of one frame, as
            soon as they are read. So do later prompt frames and frames without references, after all frames before
            them.
        prompts: Presentation indices of all prompt frames.

    Raises:
        CodecError: `frames` raised it. The waves of all frames before it are yielded first.
    """
    unread = iter(frames)
    for frame in unread:
        yield Wave((frame,), frame.available_references)
        if frame.index == first:
            break
    pending: dict[CompressedFrame, tuple[int, ...]] = {}
    available: tuple[int, ...] = ()
    failure: CodecError | None = None
    more = True
    while more or pending:
        while more and len(pending) < WINDOW:
            try:
                frame = next(unread)
                pending[frame], available = frame.motion.references, frame.available_references
            except StopIteration:
                more = False
            except CodecError as error:
                more, failure = False, error
        if pending:
            wave = _ready(pending, prompts)
            for frame in wave:
                del pending[frame]
            needed = {*available, *chain.from_iterable(pending.values())}
            yield Wave(wave, tuple(sorted(needed)), tuple(pending))
    if failure is not None:
        raise failure


def _ready(pending: Mapping[CompressedFrame, tuple[int, ...]], prompts: Collection[int]) -> tuple[CompressedFrame, ...]:
    """Return the first pending frames, given with their references in decode order, that need no pending frame."""
    wave: list[CompressedFrame] = []
    waiting: set[int] = set()
    for frame, references in pending.items():
        if len(wave) == LARGEST or not references or frame.index in prompts:
            return tuple(wave) or (frame,)
        if waiting.isdisjoint(references):
            wave.append(frame)
        waiting.add(frame.decode_index)
    return tuple(wave)
