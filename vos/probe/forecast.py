"""Forecast of the key frames and the speed-up of each key-frame policy, from the bitstream alone.

`codec` and `every:N` are counted exactly. `adaptive` depends on the objects, which the bitstream does not know. The
forecast treats the whole picture as the object and applies the default policy (balanced, with the refiner) to the
uncertainty that propagation would accumulate. On the evaluation sequences it predicts 14 to 20 % key frames. It does
not account for lost objects, which need more.
"""

from __future__ import annotations

from dataclasses import dataclass

from codec.types import CompressedFrame, FrameType
from vos.keyframes.policy import REFINED, FrameContext
from vos.propagation.uncertainty import UNCERTAINTY_AFTER_REFINEMENT, hop_uncertainty

KEY_FRAME_COST = 1.0
"""Unit of the cost model: decoding a frame and segmenting it with the default network."""
PROPAGATED_FRAME_COST = 0.35
"""Cost of decoding a frame with its motion, propagating masks to it and refining them, relative to a key frame."""
INTERVALS = (5, 10)
"""The N of the forecast `every:N` policies."""
_POLICY = REFINED["balanced"]
"""Policy of a run without options."""
_RECENT_KEYS = 4
"""Key frames among which the nearest one is looked for."""


@dataclass(frozen=True, slots=True)
class PolicyForecast:
    """Forecast for one key-frame policy.

    Attributes:
        policy: As in the options: "adaptive", "codec", "every:5".
        key_frames: Frames that the base network would segment.
        key_share: Their share of all frames, 0 to 1.
        speedup: Relative to segmenting every frame with the base network, by the cost model.
        estimated: Whether key frames are estimated rather than counted.
    """

    policy: str
    key_frames: int
    key_share: float
    speedup: float
    estimated: bool


class KeyframeForecast:
    """Counts the key frames of each policy from frames in decode order."""

    def __init__(self) -> None:
        self._frames = 0
        self._codec_keys = 0
        self._adaptive_keys: list[int] = []
        self._uncertainty: dict[int, float] = {}

    def add(self, frame: CompressedFrame) -> None:
        """Process the next frame."""
        self._frames += 1
        self._codec_keys += frame.type is not FrameType.B
        uncertainty = UNCERTAINTY_AFTER_REFINEMENT * self._propagated_uncertainty(frame)
        if self._is_adaptive_key(frame, uncertainty):
            self._adaptive_keys.append(frame.index)
            uncertainty = 0.0
        available = {*frame.available_references, frame.decode_index}
        self._uncertainty = {index: old for index, old in self._uncertainty.items() if index in available}
        self._uncertainty[frame.decode_index] = uncertainty

    def result(self) -> tuple[PolicyForecast, ...]:
        """Return one forecast per policy."""
        counted = {"codec": self._codec_keys}
        counted |= {f"every:{interval}": -(-self._frames // interval) for interval in INTERVALS}
        adaptive = self._forecast("adaptive", len(self._adaptive_keys), estimated=True)
        return adaptive, *(self._forecast(policy, keys, estimated=False) for policy, keys in counted.items())

    def _forecast(self, policy: str, keys: int, *, estimated: bool) -> PolicyForecast:
        share = keys / self._frames if self._frames else 1.0
        return PolicyForecast(policy, keys, share, speedup(share), estimated)

    def _propagated_uncertainty(self, frame: CompressedFrame) -> float:
        """Mean uncertainty of the frame if it were propagated: of its references, and of the hop to it."""
        if not frame.motion.coverage:
            return 1.0
        cells = [
            (self._uncertainty.get(index, 1.0), int((frame.motion.reference == index).sum()))
            for index in frame.motion.references
        ]
        inherited = sum(uncertainty * count for uncertainty, count in cells) / sum(count for _, count in cells)
        return 1 - (1 - inherited) * (1 - float(hop_uncertainty(frame).mean()))

    def _is_adaptive_key(self, frame: CompressedFrame, uncertainty: float) -> bool:
        if not self._adaptive_keys:
            return True
        context = FrameContext(
            position=frame.index,
            latest_key=max(self._adaptive_keys[-_RECENT_KEYS:]),
            key_distance=min(abs(frame.index - key) for key in self._adaptive_keys[-_RECENT_KEYS:]),
            uncertainty=uncertainty,
            reference_coverage=frame.motion.coverage,
            lost=False,
            key_count=len(self._adaptive_keys),
            frame_count=self._frames,
        )
        return _POLICY.is_key(frame, context) or _POLICY.is_key_after_refinement(frame, context)


def speedup(key_share: float) -> float:
    """Return the speed relative to segmenting every frame with the base network, by the cost model."""
    return KEY_FRAME_COST / (key_share * KEY_FRAME_COST + (1 - key_share) * PROPAGATED_FRAME_COST)
