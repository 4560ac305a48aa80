"""Corrupted masks for training, so that the network learns to correct them instead of copying them.

All functions work on the stride-4 mask of one object, uint8 [h, w] of 0..255. They imitate masks propagated by block
motion vectors (blocks displaced, parts lost, parts leaked) and the errors of a network.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.types import UInt8Array


def rough_propagation(rng: np.random.Generator, mask: UInt8Array) -> UInt8Array:
    """Displace a mask as a whole and by blocks, with losses and leaks, as motion vectors may propagate it."""
    height, width = mask.shape
    block = int(rng.choice([1, 2, 4, 8]))
    reach = float(rng.choice([0.5, 1.0, 2.0, 4.0]))
    shape = (-(-height // block), -(-width // block))
    shift = rng.normal(0, reach, 2)
    moved = [
        np.kron(rng.normal(0, reach / 2, shape) * (rng.random(shape) < 0.5), np.ones((block, block)))[:height, :width]
        for _ in range(2)
    ]
    x = (np.arange(width)[None, :] + shift[0] + moved[0]).astype(np.float32)
    y = (np.arange(height)[:, None] + shift[1] + moved[1]).astype(np.float32)
    out = np.asarray(cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)
    if rng.random() < 0.5:
        keep, leak = mask_errors(rng, mask)
        out = np.maximum(np.minimum(out, keep), leak)
    return out


def mask_errors(rng: np.random.Generator, mask: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
    """Draw where a mask loses parts and where it leaks.

    Returns:
        keep uint8 [h, w], 0 where the mask is lost, else 255; leak uint8 [h, w], 255 where it leaks, else 0. The
        corrupted mask is max(min(mask, keep), leak).
    """
    keep = np.full(mask.shape, 255, dtype=np.uint8)
    leak = np.zeros(mask.shape, dtype=np.uint8)
    inside = np.argwhere(mask > 127)
    if len(inside) == 0:
        return keep, leak
    radius = max(2.0, np.sqrt(len(inside) / np.pi))
    kind = rng.random()
    if kind < 0.6:
        for _ in range(int(rng.integers(1, 3))):
            _draw_blob(rng, keep, inside[rng.integers(len(inside))], radius * rng.uniform(0.3, 1.0), 0)
    elif kind < 0.7:
        _erase_half(rng, keep, inside.mean(axis=0))
    if kind > 0.55:
        for _ in range(int(rng.integers(1, 3))):
            centre = inside[rng.integers(len(inside))] + rng.normal(0, radius, 2)
            _draw_blob(rng, leak, centre, radius * rng.uniform(0.2, 0.6), 255)
    return keep, leak


def _draw_blob(
    rng: np.random.Generator, mask: UInt8Array, centre: NDArray[np.float64], radius: float, value: int
) -> None:
    axes = (max(1, round(radius)), max(1, round(radius * rng.uniform(0.4, 1.0))))
    point = (round(float(centre[1])), round(float(centre[0])))
    cv2.ellipse(mask, point, axes, float(rng.uniform(0, 180)), 0, 360, value, thickness=-1)


def _erase_half(rng: np.random.Generator, mask: UInt8Array, centre: NDArray[np.float64]) -> None:
    """Erase everything on one side of a line through the object's centre."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    mask[(x - centre[1]) * np.cos(angle) + (y - centre[0]) * np.sin(angle) > 0] = 0
