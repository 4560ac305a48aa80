"""How a result goes on whose run ended before the last frame: from its last mask, with its prompts remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from service.run.directions.stored_masks import StoredMasks
from vos.errors import OptionError
from vos.types import Prompt


@dataclass(frozen=True, slots=True, eq=False)
class Continuation:
    """A run that continues a result.

    Attributes:
        prompt: The last mask of the result, as the prompt of the frame.
        remembered: Frames that the networks remember, with the masks of all objects: the first and the last prompt
            frame, from where on all objects are known.
        later: Prompts of frames that the result lacks.
    """

    prompt: Prompt
    remembered: Mapping[int, Prompt]
    later: tuple[Prompt, ...]


def continuation_of(masks: StoredMasks, prompts: Mapping[int, Prompt], end: int) -> Continuation:
    """Return how a result goes on.

    Args:
        masks: The result.
        prompts: All prompts by presentation index.
        end: Presentation index of the first frame that the result lacks.

    Raises:
        OptionError: The result has no object to continue with.
    """
    last = masks.mask(end - 1)
    assert last is not None
    remembered = _remembered(masks, prompts, end)
    shown = {int(number) for number in np.unique(last.labels) if number}
    marked = shown.union(*(prompt.object_ids for prompt in remembered.values()))
    if not marked:
        raise OptionError(
            f"the masks end at frame {end - 1}, before the first prompt that marks an object; they cannot be continued"
        )
    prompt = Prompt(last.labels, end - 1, tuple(sorted(marked - shown)))
    coming = [prompts[index] for index in sorted(prompts) if index >= end]
    known = marked.union(*(given.object_ids for given in coming))
    later = [replace(given, absent=tuple(i for i in given.absent if i in known)) for given in coming]
    return Continuation(prompt, remembered, tuple(given for given in later if given.given_ids))


def _remembered(masks: StoredMasks, prompts: Mapping[int, Prompt], end: int) -> dict[int, Prompt]:
    known: set[int] = set()
    frames: list[int] = []
    for index in sorted(index for index in prompts if index < end):
        if not set(prompts[index].object_ids) <= known:
            frames = []  # what is remembered of frames before an object was first marked says that it is background
        known |= set(prompts[index].object_ids)
        frames.append(index)
    found: dict[int, Prompt] = {}
    for index in sorted({*frames[:1], *frames[-1:]} - {end - 1}):
        mask = masks.mask(index)
        if mask is not None and mask.labels.any():
            found[index] = Prompt(mask.labels)
        elif mask is None and set(prompts[index].object_ids) == known:  # before the first frame of the result
            found[index] = Prompt(prompts[index].labels)
    return found
