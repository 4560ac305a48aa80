"""Soft masks carried along block motion (pure, apart from the store's own buffer).

Each cell of a frame is predicted from up to two references; its mask is the mean of what the references hold at the
places its vectors point to, bilinearly interpolated. References may themselves be propagated frames, so masks travel
over many hops. Source: Xu & Yao, CVPR 2022, section 3.3; H.264 8.4.2 for the prediction that is imitated.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.types import STRIDE, Float32Array, Int32Array, MotionField

_FILL_WINDOWS = (5, 15, 45)
"""Cells over which vectors are averaged to fill blocks without one; wider windows serve where narrower are empty."""


@dataclass(frozen=True, slots=True, eq=False)
class Warped:
    """Channels carried to a frame.

    Attributes:
        channels: float32 [C, rows, columns].
        support: Share of cells that a reference at hand predicts, 0 to 1. Where it is 0 the channels are a plain copy.
    """

    channels: Tensor
    support: float


class ReferenceStore:
    """Channels of the frames that later frames may refer to, in one buffer that is sampled in place.

    Args:
        channels, rows, columns: Shape of what a frame holds.
        device: Where it is held.
    """

    def __init__(self, channels: int, rows: int, columns: int, device: torch.device) -> None:
        self.rows, self.columns = rows, columns
        self._buffer = torch.zeros((channels, 2 * rows, columns), device=device)
        self._slots: dict[int, int] = {}
        self._latest = -1

    def __contains__(self, decode_index: int) -> bool:
        return decode_index in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, decode_index: int, channels: Tensor) -> None:
        """Hold the channels float [C, rows, columns] of a frame."""
        capacity = self._buffer.shape[1] // self.rows
        free = set(range(capacity)).difference(self._slots.values())
        if not free:
            self._buffer = torch.cat([self._buffer, torch.zeros_like(self._buffer)], dim=1)
            free = {capacity}
        slot = min(free)
        self._slots[decode_index] = slot
        self._buffer[:, slot * self.rows : (slot + 1) * self.rows] = channels
        self._latest = decode_index

    def keep(self, decode_indices: tuple[int, ...]) -> None:
        """Drop every frame but these and the latest."""
        wanted = {*decode_indices, self._latest}
        self._slots = {index: slot for index, slot in self._slots.items() if index in wanted}

    def latest(self) -> Tensor:
        """Channels of the frame that was put last, a copy."""
        slot = self._slots[self._latest]
        return self._buffer[:, slot * self.rows : (slot + 1) * self.rows].clone()

    def warp(self, motion: MotionField) -> Warped:
        """Carry the channels of the references to a frame with this motion."""
        slots = self._slots_of(motion.reference)
        support = float((slots >= 0).any(axis=0).mean())
        if support == 0:
            return Warped(self.latest(), support)
        vectors = motion.vectors
        if support < 1:
            vectors, slots = fill_missing(vectors, slots)
        lists = 2 if (slots[1] >= 0).any() else 1
        grid, weights = sampling_grid(vectors[:lists], slots[:lists], self._buffer.shape[1])
        device = self._buffer.device
        sampled = F.grid_sample(
            self._buffer.unsqueeze(0), torch.from_numpy(grid).to(device), mode="bilinear", align_corners=True
        )
        layers = sampled.view(-1, lists, self.rows, self.columns)
        if lists == 1:
            return Warped(layers[:, 0], support)
        return Warped((layers * torch.from_numpy(weights).to(device)).sum(dim=1), support)

    def _slots_of(self, reference: Int32Array) -> Int32Array:
        """Buffer slot of each cell's reference, -1 where the frame is not held."""
        slots = np.full(reference.shape, -1, np.int32)
        for decode_index in np.unique(reference):
            slot = self._slots.get(int(decode_index))
            if slot is not None:
                slots[reference == decode_index] = slot
        return slots


def sampling_grid(vectors: Float32Array, slots: Int32Array, buffer_rows: int) -> tuple[Float32Array, Float32Array]:
    """Where each cell is sampled in a buffer of frames stacked by rows.

    Args:
        vectors: float32 [L, rows, columns, 2], (dx, dy) in analysis pixels.
        slots: int32 [L, rows, columns], place of the reference in the stack, -1 for none.
        buffer_rows: Rows of the whole stack.

    Returns:
        Grid float32 [1, L * rows, columns, 2], (x, y) in -1..1 with aligned corners, and the weight of each sample,
        float32 [L, rows, columns], summing to 1 over L where there is any.
    """
    lists, rows, columns = slots.shape
    x = vectors[..., 0] * np.float32(1 / STRIDE) + np.arange(columns, dtype=np.float32)
    y = vectors[..., 1] * np.float32(1 / STRIDE) + np.arange(rows, dtype=np.float32)[:, None]
    # A vector may point outside the picture, where decoders repeat the border (H.264 8.4.2.2): never into a neighbour.
    np.clip(x, 0, columns - 1, out=x)
    np.clip(y, 0, rows - 1, out=y)
    y += np.maximum(slots, 0) * np.float32(rows)
    grid = np.empty((1, lists * rows, columns, 2), np.float32)
    grid[0, :, :, 0] = (x * np.float32(2 / max(columns - 1, 1)) - 1).reshape(-1, columns)
    grid[0, :, :, 1] = (y * np.float32(2 / max(buffer_rows - 1, 1)) - 1).reshape(-1, columns)
    weights = (slots >= 0).astype(np.float32)
    weights /= np.maximum(weights.sum(axis=0, keepdims=True), 1)
    return grid, weights


def fill_missing(vectors: Float32Array, slots: Int32Array) -> tuple[Float32Array, Int32Array]:
    """Give cells without a reference the mean motion of their neighbours.

    Only neighbours that point to the most used reference take part, since vectors to different frames cannot be
    averaged. Cells that have no such neighbour get no motion.

    Args:
        vectors: float32 [2, rows, columns, 2].
        slots: int32 [2, rows, columns], -1 for none; at least one is not.

    Returns:
        Both arrays, new, with list 0 (or whichever is used most) filled everywhere.
    """
    missing = (slots < 0).all(axis=0)
    counts = [np.bincount(layer[layer >= 0], minlength=1) for layer in slots]
    used = 0 if counts[0].max() >= counts[1].max() else 1
    common = int(counts[used].argmax())
    known = (slots[used] == common).astype(np.float32)
    moments = np.dstack([vectors[used] * known[..., None], known])
    filled = np.zeros_like(vectors[used])
    open_cells = missing
    for window in _FILL_WINDOWS:
        sums = cv2.blur(moments, (window, window), borderType=cv2.BORDER_CONSTANT)
        near = open_cells & (sums[..., 2] > 1e-6)
        filled[near] = sums[near][:, :2] / sums[near][:, 2:]
        open_cells = open_cells & ~near
        if not open_cells.any():
            break
    vectors, slots = vectors.copy(), slots.copy()
    vectors[used][missing] = filled[missing]
    slots[used][missing] = common
    # List 0 is the one that is sampled when list 1 is empty.
    return (vectors, slots) if used == 0 else (vectors[::-1].copy(), slots[::-1].copy())
