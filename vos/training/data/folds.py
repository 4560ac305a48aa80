"""Folds: sequences that a training run leaves out, so that its weights can be judged on them.

The fold of a sequence depends on its name alone, so adding data does not move other sequences.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vos.errors import OptionError
from vos.training.data.datasets import TrainingData


@dataclass(frozen=True, slots=True)
class Fold:
    """Part `number` (from 1) of `count` of the sequences of some sets."""

    number: int
    count: int
    sets: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, sets: Sequence[str]) -> Fold:
        """Parse "K/N".

        Raises:
            OptionError: The text is not a fold.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) >= 2):
            raise OptionError(f"fold is {text!r}; it must be K/N, such as 2/5, with K from 1 to N and N at least 2")
        return cls(int(number), int(count), tuple(sets))

    def holds(self, source: str) -> bool:
        """Whether the sequence named "<set>/<sequence>" is in the fold."""
        return source.partition("/")[0] in self.sets and zlib.crc32(source.encode()) % self.count == self.number - 1


def leave_out(data: TrainingData, fold: Fold) -> TrainingData:
    """Return the data without the fold's sequences."""
    videos = {
        name: [video for video in members if not fold.holds(video.source)] for name, members in data.videos.items()
    }
    return replace(data, videos={name: members for name, members in videos.items() if members})
