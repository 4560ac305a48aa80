"""One frame that is not a key frame: masks are carried here by motion, with a doubt that grows on the way.

Doubt is a channel of its own, carried along with the masks: it rises with every hop, where the residual says that the
prediction was wrong, and to the full in intra blocks, which the encoder could not predict at all. Key frames have none.
It tells the key-frame policy when to stop carrying, the score how far to believe, and a correction where to look. The
constants were set on training sequences, so that one minus the doubt of an object ranks frames as the true J does
(Spearman 0.88 for H.264 with B frames, 0.89 without).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from codec.types import STRIDE, CompressedFrame, Float32Array, Int16Array
from vos.warp import ReferenceStore

HOP_DOUBT = 0.02
"""Doubt that one hop adds everywhere: interpolation and the codec's own liberties."""
INTRA_DOUBT = 0.5
"""Doubt of a cell without any vector."""
RESIDUAL_FLOOR = 8.0
"""Mean absolute residual of a cell, in grey levels, that is plain coding noise."""
RESIDUAL_RANGE = 60.0
"""Grey levels above the floor at which a cell's prediction is worth nothing."""
_NEIGHBOURHOOD = 5
"""Cells, in both directions, over which doubt is averaged: what happens beside an object endangers its edge."""


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """Masks carried to a frame.

    Attributes:
        soft: float32 [K, rows, columns], sums over K at most 1.
        doubt: float32 [rows, columns], 0 to 1.
        support: Share of the frame that references at hand predict, 0 to 1.
    """

    soft: Tensor
    doubt: Tensor
    support: float

    def channels(self) -> Tensor:
        """[K + 1, rows, columns], as a `ReferenceStore` holds them."""
        return torch.cat([self.soft, self.doubt.unsqueeze(0)])

    def doubt_by_object(self) -> Tensor:
        """float32 [K]: mean doubt of each object's cells, 0 for an object that is not there."""
        soft = self.soft.flatten(1)
        return (soft @ self.doubt.flatten()) / soft.sum(dim=1).clamp(min=1)


class Corrector(Protocol):
    """Repairs carried masks by looking at the frame: the place of a learned, residual-guided correction."""

    def __call__(self, frame: CompressedFrame, carried: Carried) -> Carried:
        """Better masks for the frame."""
        ...


def carry(frame: CompressedFrame, references: ReferenceStore) -> Carried:
    """Carry masks and doubt from the references to a frame along its motion."""
    warped = references.warp(frame.motion)
    soft, doubt = warped.channels[:-1], warped.channels[-1]
    local = torch.from_numpy(local_doubt(frame)).to(doubt.device)
    return Carried(soft, 1 - (1 - doubt) * (1 - local), warped.support)


def local_doubt(frame: CompressedFrame) -> Float32Array:
    """Doubt that the hop to this frame adds on and beside each cell, float32 [rows, columns], 0 to 1."""
    excess = (mean_absolute(frame.residual) - RESIDUAL_FLOOR) / RESIDUAL_RANGE
    doubt = np.clip(excess, HOP_DOUBT, 1)
    doubt[~frame.motion.covered] = INTRA_DOUBT
    return np.asarray(cv2.blur(doubt, (_NEIGHBOURHOOD, _NEIGHBOURHOOD)), np.float32)


def mean_absolute(residual: Int16Array) -> Float32Array:
    """Mean absolute residual a cell: int16 [height, width] -> float32 [rows, columns], grey levels."""
    magnitude = cv2.convertScaleAbs(residual)
    height, width = magnitude.shape
    bottom, right = -height % STRIDE, -width % STRIDE
    if bottom or right:
        magnitude = cv2.copyMakeBorder(magnitude, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (magnitude.shape[1] // STRIDE, magnitude.shape[0] // STRIDE)
    return np.asarray(cv2.resize(magnitude, size, interpolation=cv2.INTER_AREA), np.float32)
