"""Synthetic motion as sampling maps: the source position of each pixel of a clip's frame.

A sampling map is float32 [S, S, 2], (x, y) in source pixels as for OpenCV's remap. Image and mask of a layer are
sampled with the same map, which keeps them aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.types import UInt8Array
from vos.training.data.thin_plate import random_bend

Map = NDArray[np.float32]
_NO_MAP: Any = None
"""Second map of `cv2.remap`, unused with a map of (x, y); OpenCV's type stubs do not allow None."""


@dataclass(frozen=True, slots=True)
class Strength:
    """Largest changes from the first to the last frame of a clip.

    Attributes:
        zoom: Logarithm of the scale.
        shift: Shift as a share of the frame's side.
        rotate: Angle in radians.
        shear: Shear factor.
        warp: Displacement as a share of the frame's side.
    """

    zoom: float
    shift: float
    rotate: float
    shear: float
    warp: float


CAMERA = Strength(zoom=0.12, shift=0.08, rotate=0.08, shear=0.04, warp=0.0)
GENTLE = Strength(zoom=0.25, shift=0.20, rotate=0.25, shear=0.10, warp=0.03)
STRONG = Strength(zoom=1.10, shift=0.40, rotate=0.60, shear=0.20, warp=0.06)
BACKGROUND = Strength(zoom=0.25, shift=0.25, rotate=0.15, shear=0.05, warp=0.01)


def trajectory(rng: np.random.Generator, frames: int, spread: float) -> NDArray[np.float32]:
    """Draw a smooth walk [frames] from 0, within -spread..spread, at uneven speed."""
    steps = rng.uniform(0.2, 1.0, frames - 1) * rng.choice([1.0, 1.0, 1.0, -0.5], frames - 1)
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(walk / max(abs(walk).max(), 1e-6) * rng.uniform(-spread, spread), dtype=np.float32)


def look_away(rng: np.random.Generator, frames: int, size: int) -> NDArray[np.float32]:
    """Draw a pan for `sampling_maps`: mostly sideways, until little of the first view is left; half of them return."""
    angle = rng.uniform(0, 2 * np.pi)
    reach = size * rng.uniform(0.6, 1.3) * np.array([np.cos(angle), 0.5 * np.sin(angle)])
    time = np.linspace(0, 1, frames)
    course = np.sin(np.pi * time) if rng.random() < 0.5 else time
    return (course[:, None] * reach).astype(np.float32)


def sampling_maps(
    rng: np.random.Generator,
    *,
    frames: int,
    size: int,
    centre: tuple[float, float],
    scale: float,
    strength: Strength,
    flip: bool = False,
    last_scale: float | None = None,
    pan: NDArray[np.float32] | None = None,
) -> list[Map]:
    """Draw the sampling maps of a clip.

    Args:
        rng: Random generator.
        frames: Number of frames.
        size: Side S of a frame in pixels.
        centre: Source position (x, y) at the centre of frame 0.
        scale: Frame pixels per source pixel in frame 0.
        strength: Largest changes by the last frame.
        flip: Whether to mirror the frames.
        last_scale: Scale that the last frame zooms to in addition.
        pan: Additional shift (x, y) in frame pixels, float32 [frames, 2].
    """
    zoom = trajectory(rng, frames, strength.zoom)
    if last_scale is not None:
        zoom += np.linspace(0, np.log(last_scale / scale), frames, dtype=np.float32)
    shift_x, shift_y = (trajectory(rng, frames, strength.shift) * size for _ in range(2))
    if pan is not None:
        shift_x, shift_y = shift_x + pan[:, 0], shift_y + pan[:, 1]
    angle = trajectory(rng, frames, strength.rotate) + rng.uniform(-0.15, 0.15)
    shear = trajectory(rng, frames, strength.shear)
    warp_x, warp_y = (trajectory(rng, frames, strength.warp) * size for _ in range(2))
    fields = [random_bend(rng, size, size) for _ in range(2)] if strength.warp else None
    axis = np.arange(size, dtype=np.float32) - (size - 1) / 2
    maps = []
    for t in range(frames):
        cos, sin = np.cos(angle[t]), np.sin(angle[t])
        turn = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear[t]], [0, 1]])
        matrix = turn / (scale * np.exp(zoom[t]))
        if flip:
            matrix = matrix @ np.diag([-1.0, 1.0])
        matrix = matrix.astype(np.float32)
        x = (axis + shift_x[t])[None, :]
        y = (axis + shift_y[t])[:, None]
        if fields is not None:
            x = x + fields[0] * warp_x[t]
            y = y + fields[1] * warp_y[t]
        grid = np.empty((size, size, 2), dtype=np.float32)
        grid[..., 0] = matrix[0, 0] * x + matrix[0, 1] * y + centre[0]
        grid[..., 1] = matrix[1, 0] * x + matrix[1, 1] * y + centre[1]
        maps.append(grid)
    return maps


def sample_image(image: UInt8Array, grid: Map) -> UInt8Array:
    """Sample a picture [H, W, 3] at a map -> [S, S, 3]; it is mirrored beyond its border."""
    out: Any = cv2.remap(image, grid, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, dtype=np.uint8)


def sample_mask(mask: UInt8Array, grid: Map) -> UInt8Array:
    """Sample a mask [H, W] of 0 and 255 at a map -> [S, S], bilinear; it is mirrored beyond its border."""
    out: Any = cv2.remap(mask, grid, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, dtype=np.uint8)
