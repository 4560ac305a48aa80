"""A small bright disc that moves over a night sky: large pictures with a small object."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from codec.types import UInt8Array
from tests.support.synthetic import encode, x264

RED = (200, 40, 40)
STEP = (6, 2)
"""Pixels that the disc moves per picture, to the right and down."""


@dataclass(frozen=True)
class DiscClip:
    """An encoded clip and its true masks.

    Attributes:
        video: H.264 in MP4.
        masks: Labels uint8 [count, height, width]; the disc is object 1.
    """

    video: bytes
    masks: UInt8Array

    def overlaps(self, labels: UInt8Array) -> list[float]:
        """Intersection over union of the disc in each picture [count, height, width]."""
        pairs = [(found == 1, true == 1) for found, true in zip(labels, self.masks, strict=True)]
        return [float((one & other).sum() / (one | other).sum()) for one, other in pairs]


def disc_clip(count: int, size: tuple[int, int], diameter: int) -> DiscClip:
    """Draw `count` pictures of `size` (width, height) with a disc a quarter of the way from the upper left corner."""
    width, height = size
    sky = _sky(width, height)
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    pictures, masks = np.empty((count, height, width, 3), np.uint8), np.zeros((count, height, width), np.uint8)
    for index in range(count):
        left, top = width // 4 + STEP[0] * index, height // 4 + STEP[1] * index
        masks[index] = (x - left) ** 2 + (y - top) ** 2 <= (diameter / 2) ** 2
        grain = cv2.resize(rng.normal(0, 3, (height // 2, width // 2)).astype(np.float32), size)
        pictures[index] = np.clip(sky + grain[..., None], 0, 255)
        pictures[index][masks[index] > 0] = RED
    return DiscClip(encode(pictures, options=x264(bframes=2, crf=20), container="mp4"), masks)


def _sky(width: int, height: int) -> UInt8Array:
    """Dark clouds and stars, uint8 [height, width, 3]."""
    rng = np.random.default_rng(0)
    clouds = cv2.resize(rng.normal(0, 8, (9, 16, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    sky = np.clip(np.array((25, 25, 50)) + clouds, 0, 255).astype(np.uint8)
    for _ in range(width * height // 8000):
        place = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(sky, place, int(rng.integers(1, 3)), (int(rng.integers(120, 255)),) * 3, -1)
    return sky
