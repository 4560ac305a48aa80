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
from codec.prediction import Sources, average, bounded, sample
from codec.types import STRIDE, Float32Array, Int32Array, UInt8Array

_SUSPECT = 3.0
"""Mean absolute error, in levels, from which on a block's reference is questioned."""

_CLEARLY = 0.75
"""Another reference is clearly better when its error is below this share of the nearest one's ..."""

_GAIN = 1.0
"""... and lower by this many levels at least."""

_SAMPLES = 4
"""A block is judged by this many samples in each direction, whatever its size."""


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
    """Questions the references of badly explained blocks of one frame, by samples spread over each block.

    Args:
        blocks: Blocks of the frame.
        atlas: Holds the frame itself and the frames in reach.
        current: The frame's decode index.
        index: The frame's position in presentation order.
        frames: Frames in reach.
    """

    def __init__(
        self, blocks: BlockMotion, atlas: Atlas, current: int, index: int, frames: tuple[Reference, ...]
    ) -> None:
        self._blocks, self._atlas, self._current = blocks, atlas, current
        self._orders = [[f.decode_index for f in by_distance(frames, index, which)] for which in (0, 1)]

    def improve(self, reference: Int32Array, error: Float32Array) -> Int32Array:
        """References [n + 1] after questioning those of blocks that `reference` explains badly.

        Args:
            reference: int32 [n + 1], first guess.
            error: float32 [rows, columns], mean absolute error of each cell by the first guess.
        """
        improved = reference
        for which in (0, 1):
            suspects = self._suspects(which, error)
            if suspects.size:
                improved = self._questioned(which, suspects, improved)
        return improved

    def unfold(self, reference: Int32Array) -> Float32Array:
        """Vectors [n + 1, 2] of an interlaced frame, in lines of the frame.

        Blocks of one field are exported with vectors that count the lines of that field, by some decoders twice over,
        and nothing says which blocks those are. So the vertical part is doubled or halved where that explains a block
        clearly better.
        """
        moving = np.flatnonzero(self._blocks.vectors[:-1, 1])
        vectors = self._blocks.vectors.copy()
        for which in (0, 1):
            chosen = moving[self._blocks.lists[moving] == which]
            if not chosen.size:
                continue
            names = np.array([self._orders[which][0], -1], np.int32)
            factors = np.array((1.0, 2.0, 0.5), np.float32)
            errors = np.stack([self._errors(which, chosen, reference, names, factor)[0] for factor in factors])
            best = errors.argmin(axis=0)
            best[errors.min(axis=0) >= _limit(errors[0])] = 0
            vectors[chosen, 1] *= factors[best]
        return vectors

    def _suspects(self, which: int, error: Float32Array) -> npt.NDArray[np.intp]:
        """Numbers of those blocks of a list that have a large mean error."""
        block = self._blocks.block[which].reshape(-1) + 1
        excess = np.bincount(block, error.reshape(-1) - _SUSPECT, len(self._blocks.lists) + 1)
        return np.flatnonzero(excess[1:] > 0)

    def _questioned(self, which: int, suspects: npt.NDArray[np.intp], reference: Int32Array) -> Int32Array:
        names = np.array([*self._orders[which], -1], np.int32)
        errors = self._errors(which, suspects, reference, names)
        best = errors.argmin(axis=0)
        found = errors.min(axis=0) < _limit(errors[0])
        improved = reference.copy()
        improved[suspects[found]] = names[best[found]]
        return improved

    def _errors(
        self,
        which: int,
        suspects: npt.NDArray[np.intp],
        reference: Int32Array,
        names: Int32Array,
        factor: float = 1.0,
    ) -> Float32Array:
        """Mean absolute error [k, m] of m blocks by each of k names; by the other list alone for -1, the last one.

        The vertical part of the blocks' vectors is multiplied by `factor`.
        """
        x, y = self._blocks.spread(suspects, _SAMPLES, self._atlas.size)
        truth, beside, paired = self._known(which, x, y, reference)
        width, height = self._atlas.size
        origin_x, origin_y = self._atlas.origins(names[:-1], self._current)
        place_x = bounded(x + self._blocks.vectors[suspects, 0, None], width) + origin_x[:, None, None]
        place_y = bounded(y + factor * self._blocks.vectors[suspects, 1, None], height) + origin_y[:, None, None]
        own = sample(self._atlas, place_x.reshape(-1, x.shape[1]), place_y.reshape(-1, x.shape[1])).reshape(
            place_x.shape
        )
        errors = np.full((len(names), len(suspects)), np.inf, np.float32)
        if not paired.any():
            errors[:-1] = _mean_error(own, truth)
            return errors
        errors[:-1] = _mean_error(np.where(paired, average(own, beside), own), truth)
        # FFmpeg exports a zero vector for a part of a macroblock that does not use the list.
        unused = paired.all(axis=1) & ~self._blocks.vectors[suspects].any(axis=1)
        errors[-1, unused] = _mean_error(beside[unused], truth[unused])
        return errors

    def _known(
        self, which: int, x: Float32Array, y: Float32Array, reference: Int32Array
    ) -> tuple[UInt8Array, UInt8Array, npt.NDArray[np.bool_]]:
        """The frame itself, its prediction by the other list, and where there is one, at x and y [m, samples]."""
        column, row = x.astype(np.int32), y.astype(np.int32)
        other = np.take(self._blocks.block[1 - which], row // STRIDE * self._blocks.block.shape[2] + column // STRIDE)
        left, top = self._atlas.corner(self._current)
        truth = np.take(self._atlas.picture, (row + top) * self._atlas.picture.shape[1] + column + left)
        paired = np.take(reference, other) >= 0
        if not paired.any():
            return truth, truth, paired
        sources = Sources(self._blocks.vectors, reference, self._atlas, self._current)
        return truth, sample(self._atlas, *sources.places(other, x, y)), paired


def _limit(error: Float32Array) -> Float32Array:
    """Below this error another guess is clearly better than the first, whose error is given."""
    return np.asarray(np.minimum(_CLEARLY * error, error - _GAIN))


def _mean_error(prediction: UInt8Array, truth: UInt8Array) -> Float32Array:
    """Mean absolute error over the last axis."""
    difference = np.maximum(prediction, truth) - np.minimum(prediction, truth)
    return np.asarray(difference.mean(axis=-1, dtype=np.float32))
