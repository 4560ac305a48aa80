"""Join the masks that come from the prompt before a frame with those that come from the prompt after it.

Masks lose their object with the distance from a prompt, and confidence says where they have lost it. So each object of
a frame is taken from one of the two sides: the one whose confidence, weighted by nearness, is higher.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vos.types import GIVEN, FrameMask, Prompt, SoftMask

_GIVEN_WEIGHT = 2.0
"""Weight of an object in its prompt frame: above any confidence."""
ABSENT_SCORE = 0.5
"""Confidence that an object without a pixel is absent, where the prompt before says so."""


def side_weight(score: float, distance: int, other: int | None) -> float:
    """Return the weight of one side's mask of an object.

    Args:
        score: Confidence of the mask, 0 to 1.
        distance: Frames to the prompt on this side that marks the object.
        other: Frames to the prompt on the other side; None if there is none.
    """
    if distance == 0:
        return _GIVEN_WEIGHT
    return score if other is None else score * other / (distance + other)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Masks of a frame that were propagated from one side.

    Attributes:
        mask: The mask.
        distances: Object id -> frames to its prompt on this side. Other objects in the mask do not count.
        absent: Objects that this prompt says are not in its frame. Where an object is gone is no sign that it was gone
            before, so the side of the prompts after a frame has none.
    """

    mask: FrameMask
    distances: Mapping[int, int]
    absent: frozenset[int] = frozenset()

    def score(self, number: int) -> float:
        """Confidence in what the mask says of an object."""
        score = self.mask.scores.get(number, 0.0)
        return ABSENT_SCORE if score == 0 and number in self.absent else score


class PromptDistances:
    """How far each object's prompts are from a frame.

    Args:
        prompts: Prompts on different frames. An object that a prompt says is absent is given there, too.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        self._frames: dict[int, list[int]] = {}
        self._absent: set[tuple[int, int]] = set()
        for prompt in sorted(prompts, key=lambda prompt: prompt.index):
            self._absent |= {(prompt.index, number) for number in prompt.absent}
            for number in prompt.given_ids:
                self._frames.setdefault(number, []).append(prompt.index)

    def before(self, index: int) -> dict[int, int]:
        """Return object id -> frames since its latest prompt, for objects that have one at or before the frame."""
        places = {number: bisect_right(frames, index) for number, frames in self._frames.items()}
        return {number: index - self._frames[number][place - 1] for number, place in places.items() if place}

    def after(self, index: int) -> dict[int, int]:
        """Return object id -> frames to its next prompt, for objects that have one at or after the frame."""
        places = {number: bisect_left(frames, index) for number, frames in self._frames.items()}
        found = {number: place for number, place in places.items() if place < len(self._frames[number])}
        return {number: self._frames[number][place] - index for number, place in found.items()}

    def side(self, mask: FrameMask, *, forward: bool) -> Side:
        """Return masks that were propagated from the prompts before the frame, or from those after it."""
        distances = self.before(mask.index) if forward else self.after(mask.index)
        absent = {n for n, distance in distances.items() if forward and (mask.index - distance, n) in self._absent}
        return Side(mask, distances, frozenset(absent))


def join(forward: Side | None, backward: Side | None) -> FrameMask:
    """Return the mask of a frame with each object from the side that has the higher weight.

    Where two objects overlap, because they come from different sides, the one with the higher weight wins; their soft
    masks stay as they are. Time and type are those of the forward side, the source is that of the side with most of the
    weight.

    Args:
        forward: Masks from the prompts before the frame; None if there are none.
        backward: Masks from the prompts after it; None if there are none. One of both is needed.
    """
    sides = [side for side in (forward, backward) if side is not None]
    chosen: dict[int, tuple[float, int]] = {}
    for place, side in enumerate(sides):
        for number, distance in side.distances.items():
            other = next((s.distances.get(number) for s in sides if s is not side), None)
            weight = side_weight(side.score(number), distance, other)
            if number not in chosen or weight > chosen[number][0]:
                chosen[number] = weight, place
    labels = np.zeros_like(sides[0].mask.labels)
    for number, (_, place) in sorted(chosen.items(), key=lambda item: item[1][0]):
        labels[sides[place].mask.labels == number] = number
    totals = [sum(weight for weight, at in chosen.values() if at == place) for place in range(len(sides))]
    lead = sides[int(np.argmax(totals))].mask
    head = sides[0].mask
    source = head.source if head.source in GIVEN else lead.source
    scores = {number: sides[place].mask.scores.get(number, 0.0) for number, (_, place) in sorted(chosen.items())}
    soft = soft_from({number: sides[place].mask for number, (_, place) in chosen.items()})
    return FrameMask(head.index, head.pts, head.time, head.type, source, labels, scores, soft)


def soft_from(taken: Mapping[int, FrameMask]) -> dict[int, SoftMask] | None:
    """Return the soft masks of objects, each from the mask that it is taken from; None if the run keeps none."""
    if all(mask.soft is None for mask in taken.values()):
        return None
    return {number: mask.soft[number] for number, mask in taken.items() if mask.soft and number in mask.soft}
