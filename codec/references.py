"""Which decoded frame each block is predicted from.

A block's vector says by which prediction list it was found, not by which entry of that list. The frames in reach are
known, and encoders refer mostly to the nearest one in the list's direction. So the nearest is taken, unless it explains
the block badly and another one clearly better. The same holds for a vector of a bi-predicted block that stands for no
prediction at all: FFmpeg exports a zero vector for each unused half of a macroblock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codec.atlas import Atlas
from codec.motion import BlockMotion
from codec.prediction import Sources, average, predict_cells
from codec.types import Float32Array, Int32Array, UInt8Array

_SUSPECT = 3.0
"""Mean absolute error, in levels, from which on a block's reference is questioned."""

_CLEARLY = 0.75
"""Another reference is clearly better when its error is below this share of the nearest one's ..."""

_GAIN = 1.0
"""... and lower by this many levels at least."""

_SAMPLING = 2
"""Every second pixel of every second line decides."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A decoded frame that others may be predicted from: its positions in decode and in presentation order."""

    decode_index: int
    index: int


class Reach:
    """The frames that the next frame may refer to: a sliding window in decode order (H.264 clause 8.2.5.3)."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._frames: OrderedDict[int, Reference] = OrderedDict()

    @property
    def frames(self) -> tuple[Reference, ...]:
        """Frames in reach, oldest first."""
        return tuple(self._frames.values())

    @property
    def decode_indices(self) -> tuple[int, ...]:
        """Their decode indices, ascending."""
        return tuple(self._frames)

    def clear(self) -> None:
        """Forget all frames: nothing after this refers to them."""
        self._frames.clear()

    def add(self, frame: Reference) -> None:
        """Take a frame in; the oldest one leaves when there are too many."""
        self._frames[frame.decode_index] = frame
        while len(self._frames) > self.capacity:
            self._frames.popitem(last=False)


def by_distance(frames: tuple[Reference, ...], index: int, prediction_list: int) -> tuple[Reference, ...]:
    """Frames in reach, likeliest first, for a block of the frame at presentation `index`.

    List 0 prefers past frames, nearest first, then future ones; list 1 the other way round (clause 8.2.4.2.3).
    """

    def rank(frame: Reference) -> tuple[bool, int]:
        distance = frame.index - index
        return (distance > 0) != (prediction_list == 1), abs(distance)

    return tuple(sorted(frames, key=rank))


def nearest(blocks: BlockMotion, frames: tuple[Reference, ...], index: int) -> Int32Array:
    """Reference of each block, int32 [n + 1], by nearness alone; the last entry, "no block", is -1."""
    names = np.array([by_distance(frames, index, which)[0].decode_index for which in (0, 1)], np.int32)
    return np.append(names[blocks.lists], np.int32(-1))


class Matcher:
    """Questions the references of badly explained blocks of one frame.

    Args:
        blocks: Blocks of the frame.
        atlas: Holds the frame itself and the frames in reach.
        current: The frame's decode index.
    """

    def __init__(self, blocks: BlockMotion, atlas: Atlas, current: int) -> None:
        self._blocks = blocks
        self._atlas = atlas
        self._current = current
        self._columns = blocks.block.shape[2]

    def improve(
        self, reference: Int32Array, error: Float32Array, frames: tuple[Reference, ...], index: int
    ) -> Int32Array:
        """References [n + 1] after questioning those of blocks that `reference` explains badly.

        Args:
            reference: int32 [n + 1], first guess.
            error: float32 [rows, columns], mean absolute error of each cell by the first guess.
            frames: Frames in reach.
            index: The frame's position in presentation order.
        """
        improved = reference
        for which in (0, 1):
            suspects = self._suspects(which, error)
            if suspects.any():
                order = [frame.decode_index for frame in by_distance(frames, index, which)]
                improved = self._questioned(which, suspects, improved, order)
        return improved

    def _suspects(self, which: int, error: Float32Array) -> npt.NDArray[np.bool_]:
        """Blocks [n + 1] of a list with a large mean error."""
        block = self._blocks.block[which].ravel() + 1
        count = len(self._blocks.lists) + 1
        cells = np.bincount(block, minlength=count)
        total = np.bincount(block, error.ravel(), count)
        bad = total > _SUSPECT * cells
        return np.append(bad[1:], False)

    def _questioned(
        self, which: int, suspects: npt.NDArray[np.bool_], reference: Int32Array, order: list[int]
    ) -> Int32Array:
        own, other = self._blocks.block[which].ravel(), self._blocks.block[1 - which].ravel()
        cells = np.flatnonzero(np.take(suspects, own)).astype(np.int32)
        own, other = np.take(own, cells), np.take(other, cells)
        both = np.take(reference, other) >= 0
        beside = self._predict(cells, other, reference)
        truth = self._predict(cells, np.full_like(own, -1), reference).astype(np.int16)

        def error_by(prediction: UInt8Array) -> npt.NDArray[np.float64]:
            each = np.abs(truth - prediction).mean(axis=1)
            return np.bincount(own, each, len(reference))

        best = error_by(self._with(beside, both, self._predict(cells, own, reference)))
        share = _CLEARLY * best
        limit = np.minimum(share, best - _GAIN * np.bincount(own, minlength=len(reference)))
        improved = reference.copy()
        bi_only = np.bincount(own, ~both, len(reference)) == 0
        for name in [*order[1:], -1]:
            if name < 0:
                errors = np.where(bi_only, error_by(beside), np.inf)
            else:
                guess = np.full_like(reference, name)
                errors = error_by(self._with(beside, both, self._predict(cells, own, guess)))
            better = suspects & (errors < limit)
            improved[better] = name
            limit[better] = errors[better]
        return improved

    @staticmethod
    def _with(beside: UInt8Array, both: npt.NDArray[np.bool_], own: UInt8Array) -> UInt8Array:
        return np.where(both[:, None], average(own, beside), own)

    def _predict(self, cells: Int32Array, block: Int32Array, reference: Int32Array) -> UInt8Array:
        """Samples [n, samples] of cells, each predicted by one block; by the frame itself for block -1."""
        sources = Sources.of(self._blocks.vectors, reference, self._atlas, self._current)
        row, column = np.divmod(cells, self._columns)
        return predict_cells(self._atlas, sources.places(block, column, row, self._atlas.size), _SAMPLING)
