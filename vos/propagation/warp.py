"""Warp soft masks along motion vectors.

Each cell of a frame is predicted from up to two references. Its mask is the mean of the references' masks where its
vectors point to, bilinearly interpolated. Only cells that come from around an object are computed, so the cost depends
on the objects' area and hardly on their number. References may be propagated frames themselves, so masks travel over
many hops. Sources: Xu & Yao, CVPR 2022, section 3.3; H.264 8.4.2 for the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codec.types import Float32Array, Int32Array, MotionField
from vos import kernels

Int64Array: TypeAlias = npt.NDArray[np.int64]

_NEGLIGIBLE = 0.02
"""Soft mask up to which a cell counts as empty."""
_AROUND = np.ones((7, 7), np.uint8)
"""Neighbourhood of an object's cell that is warped with it: the object's edge and its surroundings."""


@dataclass(frozen=True, slots=True, eq=False)
class Warped:
    """Channels warped to a frame.

    Attributes:
        channels: float32 [C, rows, columns]; 0 far from every object.
        reference_coverage: Share of cells that available references predict, 0 to 1. If it is 0, the channels are those
            of the latest frame.
    """

    channels: Tensor
    reference_coverage: float


class ReferenceStore:
    """Channels of the frames that later frames may refer to.

    Args:
        channels, rows, columns: Shape of a frame's channels. All channels but the last are 0 where there is nothing to
            warp: soft masks, and with a refiner the light features in the region around them.
        device: Device of the channels.
    """

    def __init__(self, channels: int, rows: int, columns: int, device: torch.device) -> None:
        self.rows, self.columns = rows, columns
        # [C, slots, rows, columns], so that one flat index addresses a cell of any slot in every channel.
        self._table = torch.zeros((channels, 0, rows, columns), device=device)
        self._occupied = np.zeros((0, rows, columns), np.bool_)
        self._slots: dict[int, int] = {}
        self._latest = -1

    def __contains__(self, decode_index: int) -> bool:
        return decode_index in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, decode_index: int, channels: Tensor) -> None:
        """Store the channels float [C, rows, columns] of a frame."""
        free = set(range(len(self._occupied))).difference(self._slots.values())
        self.put_at(min(free, default=len(self._occupied)), decode_index, channels)

    def put_at(self, slot: int, decode_index: int, channels: Tensor) -> None:
        """Store the channels of a frame in a given free slot."""
        while slot >= len(self._occupied):
            self._grow()
        self._slots[decode_index] = slot
        self._table[:, slot] = channels
        present = channels[:-1].amax(dim=0).cpu().numpy() > _NEGLIGIBLE
        self._occupied[slot] = cv2.dilate(present.view(np.uint8), _AROUND)
        self._latest = decode_index

    def keep(self, decode_indices: tuple[int, ...]) -> None:
        """Drop all frames but these and the latest one."""
        wanted = {*decode_indices, self._latest}
        self._slots = {index: slot for index, slot in self._slots.items() if index in wanted}

    def held(self) -> dict[int, tuple[int, Tensor]]:
        """Decode index -> slot and a copy of the channels of every stored frame, the latest frame last."""
        order = sorted(self._slots, key=lambda index: index == self._latest)
        return {i: (self._slots[i], self._table[:, self._slots[i]].clone()) for i in order}

    def latest(self) -> Tensor:
        """Return a copy of the channels of the latest frame."""
        return self._table[:, self._slots[self._latest]].clone()

    def warp(self, motion: MotionField) -> Warped:
        """Warp the channels of the references to a frame with this motion."""
        slots, reference_coverage = self._slots_of(motion.reference)
        if reference_coverage == 0:
            return Warped(self.latest(), reference_coverage)
        vectors = motion.vectors
        if reference_coverage < 1:
            vectors, slots = fill_missing(vectors, slots)
        warped = self._table.new_zeros((len(self._table), self.rows, self.columns))
        if warped.device.type == "cpu":
            table = self._table.flatten(1).numpy()
            kernels.warp(table, np.ascontiguousarray(vectors), slots, self._occupied, warped.numpy())
        else:
            gather(self._table, *sampling(vectors, slots, self._occupied), warped)
        return Warped(warped, reference_coverage)

    def _grow(self) -> None:
        """Add a slot."""
        room = self._table.new_zeros((len(self._table), 1, self.rows, self.columns))
        self._table = torch.cat([self._table, room], dim=1)
        self._occupied = np.concatenate([self._occupied, np.zeros((1, self.rows, self.columns), np.bool_)])

    def _slots_of(self, reference: Int32Array) -> tuple[Int32Array, float]:
        """Slot of each cell's reference, -1 if it is not stored, and the share of cells with a stored reference."""
        oldest, newest = min(self._slots), max(self._slots)
        table = np.full(newest - oldest + 1, -1, np.int32)
        for index, slot in self._slots.items():
            table[index - oldest] = slot
        slots = np.empty(reference.shape, np.int32)
        covered = kernels.lookup_slots(np.ascontiguousarray(reference), oldest, table, slots)
        return slots, covered / (self.rows * self.columns)


def sampling(
    vectors: Float32Array, slots: Int32Array, occupied: npt.NDArray[np.bool_]
) -> tuple[Int64Array, Int64Array, Float32Array]:
    """Find where to sample the cells that come from around an object, in a table of frames.

    Args:
        vectors: float32 [2, rows, columns, 2], (dx, dy) in analysis pixels.
        slots: int32 [2, rows, columns], frame of the table that each list points to, -1 for none.
        occupied: bool [frames, rows, columns], cells on or around an object.

    Returns:
        Flat indices of the n cells that come from an occupied cell, int64 [n]; flat indices into [frames, rows,
        columns] of the corners they are interpolated from, int64 [n, 8] (4 per list); the corners' weights, float32
        [n, 8].
    """
    room = slots[0].size
    cells = np.empty(room, np.int64)
    corners, weights = np.empty((room, 8), np.int64), np.empty((room, 8), np.float32)
    vectors, slots = np.ascontiguousarray(vectors), np.ascontiguousarray(slots)
    count = kernels.sampling(vectors, slots, occupied, cells, corners, weights)
    return cells[:count], corners[:count], weights[:count]


def gather(table: Tensor, cells: Int64Array, corners: Int64Array, weights: Float32Array, out: Tensor) -> None:
    """Interpolate cells with torch operations, on any device.

    Args:
        table: Channels of all frames, [C, frames, rows, columns].
        cells: Flat indices of the cells, from `sampling`.
        corners: Flat indices of their corners, from `sampling`.
        weights: Weights of the corners, from `sampling`.
        out: [C, rows, columns], of which only `cells` are written.
    """
    where, places, shares = (torch.from_numpy(array).to(table.device) for array in (cells, corners, weights))
    out.flatten(1)[:, where] = (table.flatten(1)[:, places] * shares).sum(dim=2)


def fill_missing(vectors: Float32Array, slots: Int32Array) -> tuple[Float32Array, Int32Array]:
    """Give cells without a reference the mean motion of their neighbours.

    Only neighbours that point to the most used reference count, since vectors to different frames cannot be averaged.
    The mean is taken over the smallest square that contains such a neighbour, of sides 4, 16, 64, ... cells.

    Args:
        vectors: float32 [2, rows, columns, 2].
        slots: int32 [2, rows, columns], -1 for none; at least one cell has a reference.

    Returns:
        New arrays of both. Cells without a reference are filled in the list that uses the most used reference most.
    """
    vectors, slots = vectors.copy(), slots.copy()
    kernels.fill_missing(vectors, slots)
    return vectors, slots
