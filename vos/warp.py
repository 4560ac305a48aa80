"""Soft masks carried along block motion (pure, apart from the store's own buffer).

Each cell of a frame is predicted from up to two references; its mask is the mean of what the references hold at the
places its vectors point to, bilinearly interpolated. Only cells that come from around an object are computed, so the
cost follows the objects' area and hardly their number. References may themselves be propagated frames, so masks travel
over many hops. Source: Xu & Yao, CVPR 2022, section 3.3; H.264 8.4.2 for the prediction that is imitated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, Float32Array, Int32Array, MotionField

Int64Array: TypeAlias = npt.NDArray[np.int64]

_NEGLIGIBLE = 0.02
"""Soft mask below which a cell counts as empty."""
_REACH = 7
"""Cells, in both directions, around an object that are carried with it: its edge and what may endanger it."""
_FILL_STEP = 4
"""Each level of the pyramid that fills missing vectors is this much coarser than the one below it."""


@dataclass(frozen=True, slots=True, eq=False)
class Warped:
    """Channels carried to a frame.

    Attributes:
        channels: float32 [C, rows, columns]; 0 far from every object.
        support: Share of cells that a reference at hand predicts, 0 to 1. Where it is 0 the channels are a plain copy.
    """

    channels: Tensor
    support: float


class ReferenceStore:
    """Channels of the frames that later frames may refer to, in one table that is sampled in place.

    Args:
        channels, rows, columns: Shape of what a frame holds. All channels but the last are soft masks.
        device: Where it is held.
    """

    def __init__(self, channels: int, rows: int, columns: int, device: torch.device) -> None:
        self.rows, self.columns = rows, columns
        self._table = torch.zeros((0, rows, columns, channels), device=device)
        self._occupied = np.zeros((0, rows, columns), np.bool_)
        self._slots: dict[int, int] = {}
        self._latest = -1

    def __contains__(self, decode_index: int) -> bool:
        return decode_index in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, decode_index: int, channels: Tensor) -> None:
        """Hold the channels float [C, rows, columns] of a frame."""
        free = set(range(len(self._table))).difference(self._slots.values())
        self.put_at(min(free, default=len(self._table)), decode_index, channels)

    def put_at(self, slot: int, decode_index: int, channels: Tensor) -> None:
        """As `put`, in a slot that is free."""
        while slot >= len(self._table):
            self._grow()
        self._slots[decode_index] = slot
        self._table[slot] = channels.permute(1, 2, 0)
        present = (channels[:-1].amax(dim=0) > _NEGLIGIBLE).to(torch.uint8).cpu().numpy()
        self._occupied[slot] = cv2.dilate(present, np.ones((_REACH, _REACH), np.uint8))
        self._latest = decode_index

    def keep(self, decode_indices: tuple[int, ...]) -> None:
        """Drop every frame but these and the latest."""
        wanted = {*decode_indices, self._latest}
        self._slots = {index: slot for index, slot in self._slots.items() if index in wanted}

    def held(self) -> dict[int, tuple[int, Tensor]]:
        """Decode index -> slot and channels (a copy) of every frame that is held, the latest one last."""
        order = sorted(self._slots, key=lambda index: index == self._latest)
        return {i: (self._slots[i], self._table[self._slots[i]].permute(2, 0, 1).clone()) for i in order}

    def latest(self) -> Tensor:
        """Channels of the frame that was put last, a copy."""
        return self._table[self._slots[self._latest]].permute(2, 0, 1).clone()

    def warp(self, motion: MotionField) -> Warped:
        """Carry the channels of the references to a frame with this motion."""
        slots = self._slots_of(motion.reference)
        support = float((slots >= 0).any(axis=0).mean())
        if support == 0:
            return Warped(self.latest(), support)
        vectors = motion.vectors
        if support < 1:
            vectors, slots = fill_missing(vectors, slots)
        cells, corners, weights = sampling(vectors, slots, self._occupied)
        table = self._table.flatten(0, 2)
        device = table.device
        sampled = F.embedding_bag(
            torch.from_numpy(corners).to(device),
            table,
            mode="sum",
            per_sample_weights=torch.from_numpy(weights).to(device),
        )
        carried = torch.zeros_like(self._table[0]).flatten(0, 1)
        carried[torch.from_numpy(cells).to(device)] = sampled
        return Warped(carried.view_as(self._table[0]).permute(2, 0, 1), support)

    def _grow(self) -> None:
        """Make room for one more frame."""
        self._table = torch.cat([self._table, self._table.new_zeros((1, *self._table.shape[1:]))])
        self._occupied = np.concatenate([self._occupied, np.zeros((1, self.rows, self.columns), np.bool_)])

    def _slots_of(self, reference: Int32Array) -> Int32Array:
        """Slot of each cell's reference, -1 where the frame is not held."""
        oldest, newest = min(self._slots), max(self._slots)
        # One entry a frame between the oldest and the newest held; the last entry serves all that lie outside.
        lookup = np.full(newest - oldest + 2, -1, np.int32)
        for index, slot in self._slots.items():
            lookup[index - oldest] = slot
        return lookup[np.clip(reference - oldest, -1, newest - oldest + 1)]


def sampling(
    vectors: Float32Array, slots: Int32Array, occupied: npt.NDArray[np.bool_]
) -> tuple[Int64Array, Int64Array, Float32Array]:
    """Where the cells that matter are sampled in a table of frames.

    Args:
        vectors: float32 [2, rows, columns, 2], (dx, dy) in analysis pixels.
        slots: int32 [2, rows, columns], which frame of the table each list points to, -1 for none.
        occupied: Bool [frames, rows, columns], cells on or around an object.

    Returns:
        Flat indices of the n cells that come from an occupied one, int64 [n]; flat indices into [frames, rows, columns]
        of the corners they are interpolated from, int64 [n, 8] (4 a list), and the corners' weights, float32 [n, 8].
    """
    _, rows, columns = slots.shape
    # A vector may point outside the picture, where decoders repeat the border (H.264 8.4.2.2).
    x = np.clip(vectors[..., 0] * np.float32(1 / STRIDE) + np.arange(columns, dtype=np.float32), 0, columns - 1)
    y = np.clip(vectors[..., 1] * np.float32(1 / STRIDE) + np.arange(rows, dtype=np.float32)[:, None], 0, rows - 1)
    first = (np.maximum(slots, 0) * rows + y.astype(np.int32)) * columns + x.astype(np.int32)
    near = occupied.reshape(-1)[first] & (slots >= 0)
    cells = np.flatnonzero(near.any(axis=0))
    x, y, first = (part.reshape(2, -1)[:, cells] for part in (x, y, first))
    valid = slots.reshape(2, -1)[:, cells] >= 0
    fx, fy = x - np.floor(x), y - np.floor(y)
    share = valid / np.maximum(valid.sum(axis=0), 1, dtype=np.float32)
    right = (x < columns - 1).astype(np.int64)
    below = (y < rows - 1).astype(np.int64) * columns
    corners = np.stack([first, first + right, first + below, first + below + right])
    weights = np.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx]) * share
    return cells, corners.reshape(8, -1).T.copy(), weights.reshape(8, -1).T.astype(np.float32, order="C")


def fill_missing(vectors: Float32Array, slots: Int32Array) -> tuple[Float32Array, Int32Array]:
    """Give cells without a reference the mean motion of their neighbours.

    Only neighbours that point to the most used reference take part, since vectors to different frames cannot be
    averaged. Means are taken over ever larger squares until one has such a neighbour.

    Args:
        vectors: float32 [2, rows, columns, 2].
        slots: int32 [2, rows, columns], -1 for none; at least one is not.

    Returns:
        Both arrays, new, with the list that uses that reference most filled everywhere.
    """
    missing = (slots < 0).all(axis=0)
    counts = [np.bincount(layer[layer >= 0], minlength=1) for layer in slots]
    used = 0 if counts[0].max() >= counts[1].max() else 1
    common = int(counts[used].argmax())
    known = (slots[used] == common).astype(np.float32)
    moments = np.dstack([vectors[used] * known[..., None], known])
    filled = _enlarge(_pull(_shrink(moments)), known.shape)
    vectors, slots = vectors.copy(), slots.copy()
    vectors[used][missing] = filled[missing]
    slots[used][missing] = common
    return vectors, slots


def _pull(moments: Float32Array) -> Float32Array:
    """Means of sparse vectors: float32 [rows, columns, 3] (mean x, mean y, share) -> float32 [rows, columns, 2]."""
    means = moments[..., :2] / np.maximum(moments[..., 2:], 1e-6)
    if means[..., 0].size > 1:
        coarser = _enlarge(_pull(_shrink(moments)), means.shape[:2])
        means = np.where(moments[..., 2:] > 1e-6, means, coarser)
    return np.asarray(means, np.float32)


def _shrink(moments: Float32Array) -> Float32Array:
    size = (-(-moments.shape[1] // _FILL_STEP), -(-moments.shape[0] // _FILL_STEP))
    return np.asarray(cv2.resize(moments, size, interpolation=cv2.INTER_AREA), np.float32)


def _enlarge(means: Float32Array, size: tuple[int, ...]) -> Float32Array:
    return np.asarray(cv2.resize(means, size[1::-1], interpolation=cv2.INTER_NEAREST), np.float32).reshape(*size, 2)
