"""Smooth paths of the layers of a moving scene, as of cameras and animals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

_PERIODS = (8.0, 40.0)
"""Shortest and longest period of a sway, in frames."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Largest speeds of a path.

    Attributes:
        shift: Pixels per frame.
        zoom: Logarithm of the scale per frame.
        turn: Radians per frame.
        warp: Largest warp in total, in pixels.
    """

    shift: float
    zoom: float
    turn: float
    warp: float = 0.0


REST = Pace(shift=0, zoom=0, turn=0)
CAMERA = Pace(shift=6, zoom=0.012, turn=0.012)
CALM = Pace(shift=6, zoom=0.02, turn=0.02, warp=10)
LIVELY = Pace(shift=15, zoom=0.05, turn=0.08, warp=28)


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Position, scale, angle and warp of a layer, one row per frame.

    Attributes:
        place: Position (x, y) of the layer's anchor in picture pixels, float64 [T, 2].
        scale: Picture pixels per layer pixel, float64 [T].
        angle: Angle in radians, float64 [T].
        warp: Weights (x, y) of the layer's displacement field in pixels, float64 [T, 2].
    """

    place: Float64Array
    scale: Float64Array
    angle: Float64Array
    warp: Float64Array

    def to_layer(self, frame: int, anchor: tuple[float, float], *, flip: bool = False) -> Float64Array:
        """Affine matrix [2, 3] from picture pixels to layer pixels; `anchor` (x, y) of the layer lies at `place`."""
        cos, sin = np.cos(self.angle[frame]), np.sin(self.angle[frame])
        turn = np.array([[cos, sin], [-sin, cos]]) / self.scale[frame]
        if flip:
            turn = np.diag([-1.0, 1.0]) @ turn
        return np.column_stack([turn, np.asarray(anchor) - turn @ self.place[frame]])


def glide(rng: np.random.Generator, frames: int, speed: float) -> Float64Array:
    """Draw a drift and a sway, float64 [frames]: 0 in the first frame, steps of at most `speed`, mostly slow."""
    period = float(rng.uniform(*_PERIODS))
    rate, phase = 2 * np.pi / period, float(rng.uniform(0, 2 * np.pi))
    share = float(rng.random())
    fastest = speed * float(rng.random()) ** 1.5 * float(rng.choice([-1, 1]))
    time = np.arange(frames, dtype=np.float64)
    sway = (np.sin(rate * time + phase) - np.sin(phase)) / rate
    return np.asarray(fastest * (share * time + (1 - share) * sway))


def wander(rng: np.random.Generator, frames: int, start: tuple[float, float], pace: Pace, scale: float = 1.0) -> Path:
    """Draw a path that begins at `start` (x, y) and `scale`."""
    place = np.stack([start[i] + glide(rng, frames, pace.shift) for i in range(2)], axis=1)
    return _with_shape(rng, place, pace, scale)


def leave(
    rng: np.random.Generator, size: tuple[int, int], frames: int, radius: float, pace: Pace, *, come_back: bool
) -> Path:
    """Draw a path that begins inside a picture of `size` (height, width), near a side, and leaves over this side.

    An object of `radius` pixels is out of sight in the middle of the clip if it comes back, otherwise at the end.
    """
    height, width = size
    path = _with_shape(rng, np.zeros((frames, 2)), pace, 1.0)
    inside = float(rng.uniform(0.0, 0.6)) * radius
    way = inside + radius * float(path.scale.max()) * float(rng.uniform(1.0, 1.2))
    time = np.arange(frames) / (frames - 1)
    out = way * (np.sin(np.pi * time) if come_back else time ** float(rng.uniform(1.0, 1.6))) - inside
    along = float(rng.uniform(0.25, 0.75)) + glide(rng, frames, pace.shift / 3) / min(size)
    sides = (
        (along * width, -out),
        (width + out, along * height),
        (along * width, height + out),
        (-out, along * height),
    )
    return replace(path, place=np.stack(sides[int(rng.integers(4))], axis=1))


def cross(rng: np.random.Generator, frames: int, target: tuple[float, float], distance: float, pace: Pace) -> Path:
    """Draw a straight path that begins `distance` pixels from `target` (x, y) and passes close to it, at even speed."""
    angle = float(rng.uniform(0, 2 * np.pi))
    direction = np.array([np.cos(angle), np.sin(angle)])
    passed = float(rng.uniform(0.3, 0.9)) * (frames - 1)
    speed = min(distance / passed, pace.shift)
    time = np.arange(frames)[:, None] - passed
    place = np.asarray(target) + rng.normal(0, 0.1 * distance, 2) + direction * speed * time
    return _with_shape(rng, place, pace, 1.0)


def _with_shape(rng: np.random.Generator, place: Float64Array, pace: Pace, scale: float) -> Path:
    frames = len(place)
    zoom = np.clip(glide(rng, frames, pace.zoom), -0.5, 0.5)
    # Glides seldom reach their speed; with three times the speed some come near the whole warp.
    warp = np.clip(
        np.stack([glide(rng, frames, 3 * pace.warp / frames) for _ in range(2)], axis=1), -pace.warp, pace.warp
    )
    return Path(place, scale * np.exp(zoom), glide(rng, frames, pace.turn), warp)
