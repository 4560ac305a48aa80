"""What one corrected frame changes in the masks around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from codec.types import UInt8Array
from service.run.directions.join import ABSENT_SCORE, side_weight, soft_from
from service.run.directions.stored_masks import ChangedMasks, StoredMasks
from vos.types import GIVEN, FrameMask, MaskSource, Prompt

AGREEING_IOU = 0.95
"""IoU from which a new mask agrees with the stored one, unless the correction is small."""
_REMAINING = 0.25
"""Share of what a small correction changes in its frame that may remain of it where masks agree."""
_LEAST_IOU_BEFORE, _REMAINING_BEFORE = 0.75, 0.5
"""The same for frames before the corrected one, whose stored masks are often right: IoU from which they are kept."""
_CONFIRMING_IOU = 0.98
"""IoU of given and stored mask from which a correction confirms the stored one, so that nothing of it has to travel."""
AGREEING_FRAMES = 5
"""Frames in a row that agree with the stored masks, or keep them, after which a direction ends."""
_MOST_REMEMBERED = 2
"""Prompt frames that the networks remember: the first one and the one nearest to the corrected frame."""


class CorrectedFrame:
    """A corrected frame, and how new masks that come from it join the stored ones.

    Args:
        prompt: What was given for the frame.
        prompts: All prompts by presentation index, also that of the frame.
        stored: Masks before the correction, with what other frames of it have changed.
        both: Whether stored masks may come from the prompt after a frame, too.
    """

    def __init__(self, prompt: Prompt, prompts: Mapping[int, Prompt], stored: ChangedMasks, *, both: bool) -> None:
        self.index, self.prompt = prompt.index, prompt
        self._stored, self._both = stored, both
        others = {i: other for i, other in prompts.items() if i != prompt.index}
        self._before = {k: max((i for i in others if i < self.index and k in others[i].given_ids), default=None)
                        for k in prompt.given_ids}  # fmt: skip
        self._after = {k: min((i for i in others if i > self.index and k in others[i].given_ids), default=None)
                       for k in prompt.given_ids}  # fmt: skip
        known = {number for other in others.values() for number in other.object_ids}
        # What is remembered of other frames says that new objects are background.
        frames = sorted(others) if set(prompt.object_ids) <= known else []
        chosen = {*frames[:1], *sorted(frames, key=lambda i: abs(i - self.index))[: _MOST_REMEMBERED - 1]}
        masks = ((i, stored.mask(i)) for i in sorted(chosen))
        self.remembered = {i: Prompt(mask.labels) for i, mask in masks if mask is not None and mask.labels.any()}
        self._limits = {number: self._agreeing_ious(number) for number in prompt.given_ids}

    @property
    def whole(self) -> Prompt | None:
        """The masks of all objects in the frame; None if no object is known."""
        labels = self.mask.labels
        known = {number for prompt in self.remembered.values() for number in prompt.object_ids}
        shown = {int(number) for number in np.unique(labels) if number}
        absent = tuple(sorted(known - shown))
        return Prompt(labels, self.index, absent, MaskSource.CORRECTED) if shown or absent else None

    @property
    def mask(self) -> FrameMask:
        """The frame's new mask: the given objects exactly, others as they were."""
        stored = self._stored.mask(self.index)
        assert stored is not None
        labels = _without_ids(stored.labels, self.prompt.given_ids)
        labels = np.where(self.prompt.labels > 0, self.prompt.labels, labels)
        scores = stored.scores | dict.fromkeys(self.prompt.object_ids, 1.0) | dict.fromkeys(self.prompt.absent, 0.0)
        soft = soft_from({k: stored for k in stored.soft or () if k not in self.prompt.given_ids})
        return replace(stored, labels=labels, scores=scores, source=MaskSource.CORRECTED, soft=soft)

    def last(self, first_frame: int) -> int:
        """Presentation index of the first frame that may change; the corrected one if only absences were given."""
        if not self.prompt.object_ids:
            return self.index
        limits = [first_frame - 1 if limit is None else limit for limit in self._before.values()]
        return max(first_frame, min(limits) + 1)

    def end(self, end: int | None) -> int | None:
        """Presentation index after the last frame that may change; None for the end of the video."""
        limits = [limit for limit in self._after.values() if limit is not None]
        if len(limits) < len(self._after):
            return end
        return max(limits) if end is None else min(end, max(limits))

    def joined(self, new: FrameMask, stored: FrameMask) -> tuple[FrameMask | None, bool]:
        """Join the new mask of another frame with the stored one.

        Returns:
            The frame's mask, None if it does not change; and whether the new mask agrees with the stored one, or the
            stored one counts more.
        """
        is_before = new.index < self.index
        chosen = [k for k in self._limits if self._counts_more(k, new, stored)]
        ious = {k: _iou(new.labels == k, stored.labels == k) for k in chosen}
        differing = [k for k in chosen if ious[k] < self._limits[k][is_before]]
        agrees = not differing
        chosen = differing if is_before else chosen
        taken = new.labels - _without_ids(new.labels, chosen)
        labels = np.where(taken > 0, taken, _without_ids(stored.labels, chosen))
        if np.array_equal(labels, stored.labels):
            return None, agrees
        scores = stored.scores | {k: new.scores.get(k, 0.0) for k in chosen}
        source = stored.source if stored.source in GIVEN else new.source
        soft = soft_from(dict.fromkeys(stored.soft or (), stored) | dict.fromkeys(chosen, new))
        return replace(stored, labels=labels, scores=scores, source=source, soft=soft), agrees

    def _agreeing_ious(self, number: int) -> tuple[float, float]:
        """IoU from which masks of an object agree in frames after and before this one.

        A small part that a correction adds is to travel, too. What is left of a large one may be the new mask's error.
        """
        before = self._stored.original(self.index)
        assert before is not None
        same = _iou(self.prompt.labels == number, before.labels == number)
        if same >= _CONFIRMING_IOU:
            return AGREEING_IOU, AGREEING_IOU
        changed = 1 - same
        return max(AGREEING_IOU, 1 - _REMAINING * changed), max(_LEAST_IOU_BEFORE, 1 - _REMAINING_BEFORE * changed)

    def _counts_more(self, number: int, new: FrameMask, stored: FrameMask) -> bool:
        """Whether the new mask of an object counts more than the stored one, by the rule of `join`.

        Nearness alone decides nothing before the corrected frame: that the stored mask is wrong there says little about
        the frames before it. So the new mask has to be as confident as the stored one, too.
        """
        index, is_ahead = new.index, new.index > self.index
        limit = (self._after if is_ahead else self._before)[number]
        if limit is not None and (index >= limit if is_ahead else index <= limit):
            return False
        if limit is None or (is_ahead and not self._both):
            return True
        score, earlier = new.scores.get(number, 0.0), stored.scores.get(number, 0.0)
        if not is_ahead and score < earlier:
            return False
        if is_ahead and number in self.prompt.absent and score == 0:
            score = ABSENT_SCORE
        distance, other = abs(index - self.index), abs(limit - index)
        return side_weight(score, distance, other) > side_weight(earlier, other, distance)


def changes_of(corrected: CorrectedFrame, new: Iterator[FrameMask], stored: StoredMasks) -> Iterator[FrameMask]:
    """Yield the changed masks of the frames after the corrected one in a walk, until new and stored masks agree.

    Args:
        corrected: The corrected frame.
        new: Masks of a walk that begins with it.
        stored: Masks before the correction.
    """
    agreeing = 0
    for mask in new:
        if mask.index == corrected.index:
            continue
        before = stored.mask(mask.index)
        if before is None:
            return
        changed, agrees = corrected.joined(mask, before)
        agreeing = agreeing + 1 if agrees else 0
        if changed is not None:
            yield changed
        if agreeing == AGREEING_FRAMES:
            return


def _without_ids(labels: UInt8Array, ids: Iterable[int]) -> UInt8Array:
    """Return labels with background in the place of some ids; ten times faster than with masks of pixels."""
    table = np.arange(256, dtype=np.uint8)
    table[list(ids)] = 0
    return np.asarray(cv2.LUT(np.ascontiguousarray(labels), table), np.uint8)


def _iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
