"""How many frames each key-frame policy will segment, and what that saves: an estimate from the bitstream alone (pure).

`codec` and `every:N` are counted. `adaptive`, as it is by default (balanced, with the refiner), depends on the objects,
which a bitstream does not know: here the whole picture stands for the object, with the uncertainty that propagation would
gather (`vos.propagation.propagate`) and that refine would leave of it (`vos.refinement.mask_refiner`). On the
evaluation sequences this foretells
14 to 20 % key frames; objects that get lost, which take more, it does not see.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from codec.types import CompressedFrame, FrameType

KEY_FRAME_COST = 1.0
"""Unit of the cost model: decoding a frame and running the default network on it."""
PROPAGATED_FRAME_COST = 0.35
"""Decoding a frame with motion, carrying masks to it and repairing them, in key frames."""

HOP_UNCERTAINTY, INTRA_UNCERTAINTY = 0.02, 0.5
RESIDUAL_FLOOR, RESIDUAL_RANGE = 8.0, 60.0
UNCERTAINTY_AFTER_REFINEMENT = 0.5
REFERENCE_UNCERTAINTY, DISPOSABLE_UNCERTAINTY = 0.25, 0.5
LONGEST_GAP, LEAST_REFERENCE_COVERAGE = 5, 0.3

INTERVALS = (5, 10)
"""The N of the `every:N` policies that are forecast."""


@dataclass(frozen=True, slots=True)
class PolicyForecast:
    """What to expect of one key-frame policy.

    Attributes:
        policy: As in options: "adaptive", "codec", "every:5".
        key_frames: Frames that the network would segment.
        key_share: The same as a share of all frames, 0 to 1.
        speedup: Against the network on every frame, by the cost model.
        estimated: Whether key frames are estimated, not counted.
    """

    policy: str
    key_frames: int
    key_share: float
    speedup: float
    estimated: bool


class KeyframeForecast:
    """Counts the key frames of each policy while frames pass by in decode order."""

    def __init__(self) -> None:
        self._frames = 0
        self._codec_keys = 0
        self._adaptive_keys: list[int] = []
        self._doubt: dict[int, float] = {}

    def add(self, frame: CompressedFrame) -> None:
        """Take the next frame."""
        self._frames += 1
        self._codec_keys += frame.type is not FrameType.B
        uncertainty = UNCERTAINTY_AFTER_REFINEMENT * self._propagated_uncertainty(frame)
        if self._is_adaptive_key(frame, uncertainty):
            self._adaptive_keys.append(frame.index)
            uncertainty = 0.0
        reach = {*frame.available_references, frame.decode_index}
        self._doubt = {index: old for index, old in self._doubt.items() if index in reach}
        self._doubt[frame.decode_index] = uncertainty

    def result(self) -> tuple[PolicyForecast, ...]:
        """One forecast a policy."""
        counted = {"codec": self._codec_keys}
        counted |= {f"every:{interval}": -(-self._frames // interval) for interval in INTERVALS}
        adaptive = self._forecast("adaptive", len(self._adaptive_keys), estimated=True)
        return adaptive, *(self._forecast(policy, keys, estimated=False) for policy, keys in counted.items())

    def _forecast(self, policy: str, keys: int, *, estimated: bool) -> PolicyForecast:
        share = keys / self._frames if self._frames else 1.0
        return PolicyForecast(policy, keys, share, speedup(share), estimated)

    def _propagated_uncertainty(self, frame: CompressedFrame) -> float:
        """Doubt of the frame if it were propagated: that of its references and that of the last hop."""
        covered = frame.motion.coverage
        if not covered:
            return 1.0
        cells = [
            (self._doubt.get(index, 1.0), int((frame.motion.reference == index).sum()))
            for index in frame.motion.references
        ]
        inherited = sum(uncertainty * count for uncertainty, count in cells) / sum(count for _, count in cells)
        hop = covered * mean_hop_uncertainty(frame) + (1 - covered) * INTRA_UNCERTAINTY
        return 1 - (1 - inherited) * (1 - hop)

    def _is_adaptive_key(self, frame: CompressedFrame, uncertainty: float) -> bool:
        if not self._adaptive_keys or frame.motion.coverage < LEAST_REFERENCE_COVERAGE:
            return True
        if frame.is_reference and min(abs(frame.index - key) for key in self._adaptive_keys[-4:]) >= LONGEST_GAP:
            return True
        return uncertainty > (REFERENCE_UNCERTAINTY if frame.is_reference else DISPOSABLE_UNCERTAINTY)


def mean_hop_uncertainty(frame: CompressedFrame) -> float:
    """Mean uncertainty, 0 to 1, that the residual of one hop adds to cells with a vector."""
    magnitude = cv2.convertScaleAbs(frame.residual)
    rows, columns = frame.motion.shape
    by_cell = cv2.resize(magnitude, (columns, rows), interpolation=cv2.INTER_AREA).reshape(rows, columns)
    uncertainty = np.clip((by_cell.astype(np.float32) - RESIDUAL_FLOOR) / RESIDUAL_RANGE, HOP_UNCERTAINTY, 1)
    return float(uncertainty[frame.motion.covered].mean())


def speedup(key_share: float) -> float:
    """How many times faster than the network on every frame, by the cost model."""
    return KEY_FRAME_COST / (key_share * KEY_FRAME_COST + (1 - key_share) * PROPAGATED_FRAME_COST)


# ruff: noqa: E501
