"""Masks as a base network gets them wrong, for nets that learn to mend a key frame's mask and not to copy it.

What is imitated: borders that wander, thin parts that are lost, parts of one colour that are missed or taken in, an
object that is off, unsure or gone, and objects that take parts of one another. (`corrupt.py` imitates what block motion
does to a mask.)
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.types import Float32Array, UInt8Array

_Mask = TypeVar("_Mask", np.float32, np.uint8)


def corrupt_soft(
    rng: np.random.Generator, masks: NDArray[_Mask], image: UInt8Array | None = None, share: float = 0.7
) -> NDArray[_Mask]:
    """Wrong copies of the masks of one frame's objects.

    Args:
        rng: Where chance comes from.
        masks: float32 [K, H, W] of 0..1, or uint8 of 0..255; at any resolution. Objects that are absent stay so.
        image: uint8 [H, W, 3]; parts that are lost or leaked then follow its colours.
        share: Of the objects that get any mistake.

    Returns:
        Masks of the same shape and type; nowhere do they add up to more than one whole.
    """
    full = 255.0 if masks.dtype == np.uint8 else 1.0
    wrong = masks.astype(np.float32) / np.float32(full)
    for k in range(len(wrong)):
        if wrong[k].max(initial=0) > 0.5 and rng.random() < share:
            _spoil(rng, wrong, k, image)
    wrong /= np.maximum(wrong.sum(axis=0), 1)
    return np.asarray(np.rint(wrong * full) if masks.dtype == np.uint8 else wrong, masks.dtype)


def corrupt_labels(
    rng: np.random.Generator, labels: UInt8Array, image: UInt8Array | None = None, share: float = 0.7
) -> UInt8Array:
    """A wrong copy of labels uint8 [H, W] of 0 and 1..K: see `corrupt_soft`."""
    ids = np.arange(1, int(labels.max(initial=0)) + 1)
    wrong = corrupt_soft(rng, (labels == ids[:, None, None]).astype(np.float32), image, share)
    background = np.maximum(1 - wrong.sum(axis=0), 0)
    return np.asarray(np.concatenate([background[None], wrong]).argmax(axis=0), np.uint8)


def _spoil(rng: np.random.Generator, masks: Float32Array, k: int, image: UInt8Array | None) -> None:
    """One object's mistakes, in place; what it leaks into is lost to the others."""
    if rng.random() < 0.03:
        masks[k] = 0
        return
    radius = max(2.0, float(np.sqrt(masks[k].sum() / np.pi)))
    mask = masks[k].copy()
    if rng.random() < 0.6:
        mask = _jitter(rng, mask, radius)
    if rng.random() < 0.1:
        mask = _shift(mask, rng.normal(0, 0.15 * radius, 2))
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 3))):
            mask *= 1 - rng.uniform(0.6, 1.0) * _part(rng, masks[k], radius * rng.uniform(0.2, 0.8), image)
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 3))):
            leak = _part(rng, _rim(masks[k]), radius * rng.uniform(0.2, 0.8), image) * np.float32(rng.uniform(0.6, 1))
            masks *= 1 - leak
            mask = np.maximum(mask, leak)
    if rng.random() < 0.15:
        mask *= 1 - np.float32(rng.uniform(0.2, 0.6)) * _part(rng, masks[k], 2 * radius, None)
    masks[k] = mask


def _jitter(rng: np.random.Generator, mask: Float32Array, radius: float) -> Float32Array:
    """A border that wanders in and out along its course: the blurred mask, cut at a height that varies.

    Parts thinner than the blur fall below that height, as legs and lines do in a network's masks.
    """
    sigma = radius * float(rng.uniform(0.02, 0.16))
    blurred = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(sigma, 0.3)), np.float32)
    cells = [max(2, int(side / (radius * float(rng.uniform(0.3, 0.8))))) for side in mask.shape]
    coarse = rng.normal(0, 0.2, cells).astype(np.float32) + np.float32(rng.normal(0, 0.1))
    height = 0.5 + np.clip(cv2.resize(coarse, mask.shape[::-1], interpolation=cv2.INTER_CUBIC), -0.42, 0.42)
    # As steep as the border was before the blur, about one pixel.
    return np.asarray(np.clip((blurred - height) * (2.5 * max(sigma, 0.4)) + 0.5, 0, 1), np.float32)


def _shift(mask: Float32Array, by: NDArray[np.float64]) -> Float32Array:
    matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]])
    return np.asarray(cv2.warpAffine(mask, matrix, mask.shape[::-1], flags=cv2.INTER_LINEAR), np.float32)


def _rim(mask: Float32Array) -> Float32Array:
    """The outermost pixels of a mask; the mask itself where it has none."""
    inside = (mask > 0.5).astype(np.uint8)
    rim = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    return np.asarray(rim if rim.any() else mask, np.float32)


def _part(rng: np.random.Generator, among: Float32Array, radius: float, image: UInt8Array | None) -> Float32Array:
    """A region about a pixel of `among`, float32 [H, W] of 0..1: an ellipse, or what in it has that pixel's colour."""
    rows, columns = np.nonzero(among > 0.5)
    part = np.zeros(among.shape, np.float32)
    pixel = int(rng.integers(len(rows)))
    axes = (max(1, round(radius)), max(1, round(radius * float(rng.uniform(0.4, 1.0)))))
    centre = (int(columns[pixel]), int(rows[pixel]))
    cv2.ellipse(part, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, thickness=-1)
    if image is not None and rng.random() < 0.6:
        colour = image[rows[pixel], columns[pixel]].astype(np.float32)
        far = np.abs(cv2.GaussianBlur(image, (0, 0), 1.0) - colour).max(axis=2)
        part *= far < rng.uniform(15, 45)
    return np.asarray(cv2.GaussianBlur(part, (3, 3), 0), np.float32)
