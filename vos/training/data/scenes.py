"""Moving scenes: a run of a video or a moved still, and sprites cut from stills that move over it.

Unlike those of `clips`, these scenes move as film does: neighbouring frames differ by a small and even motion, so that
an encoder finds motion vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.types import UInt8Array
from vos.training.data.clips import Clip
from vos.training.data.datasets import LabeledStill, LabeledVideo
from vos.training.data.thin_plate import random_bend
from vos.training.data.trajectories import Path

_NO_MAP: Any = None
_INVERSE = cv2.WARP_INVERSE_MAP
LARGEST_ZOOM = 3.0
"""Largest enlargement of a still's object; beyond it only blur would be left to follow."""


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """An object cut out of a still.

    Attributes:
        pixels: RGB times alpha, and alpha: uint8 [h, w, 4].
        anchor: Centre of mass (x, y) in pixels.
        radius: Distance from the anchor to the farthest corner of the box, in pixels.
    """

    pixels: UInt8Array
    anchor: tuple[float, float]
    radius: float


def cut_out(still: LabeledStill, label: int, side: float) -> Sprite:
    """Cut out an object and scale it to an area of `side` x `side` pixels."""
    mask = np.where(still.labels == label, np.uint8(255), np.uint8(0))
    left, top, width, height = cv2.boundingRect(mask)
    box = np.s_[top : top + height, left : left + width]
    mask, image = mask[box], still.image[box]
    scale = min(side / float(np.sqrt(np.count_nonzero(mask))), LARGEST_ZOOM)
    shape = (max(2, round(width * scale)), max(2, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = np.asarray(cv2.resize(image, shape, interpolation=way), np.uint8)
    alpha = np.asarray(cv2.resize(mask, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    alpha = np.asarray(cv2.GaussianBlur(alpha, (3, 3), 0.6), np.uint8)
    pixels = np.dstack([(image * (alpha[..., None] / np.float32(255))).astype(np.uint8), alpha])
    rows, columns = np.nonzero(alpha > 127)
    anchor = (float(columns.mean()), float(rows.mean())) if len(rows) else (shape[0] / 2, shape[1] / 2)
    across, down = (max(place, side - place) for place, side in zip(anchor, shape, strict=True))
    return Sprite(pixels, anchor, float(np.hypot(across, down)))


def paste_sprite(
    rng: np.random.Generator, clip: Clip, sprite: Sprite, path: Path, label: int, *, flip: bool = False
) -> None:
    """Paste a sprite along a path as object `label`; with label 0 it only covers other objects."""
    frames, height, width = clip.labels.shape
    fields = [random_bend(rng, height, width) for _ in range(2)]
    for t in range(frames):
        reach = float(sprite.radius * path.scale[t] + 2 * np.abs(path.warp[t]).max() + 2)
        left, right = _clamp(path.place[t, 0], reach, width)
        top, bottom = _clamp(path.place[t, 1], reach, height)
        if left >= right or top >= bottom:
            continue
        box = np.s_[top:bottom, left:right]
        matrix = path.to_layer(t, sprite.anchor, flip=flip)
        x = np.arange(left, right, dtype=np.float32)[None, :] + fields[0][box] * np.float32(path.warp[t, 0])
        y = np.arange(top, bottom, dtype=np.float32)[:, None] + fields[1][box] * np.float32(path.warp[t, 1])
        _blend(clip.images[t][box], clip.labels[t][box], sprite.pixels, _apply(matrix, x, y), label)


def moved_still(still: LabeledStill, size: tuple[int, int], path: Path, *, zoom: float, flip: bool) -> Clip:
    """Move a still as a background without labels, `zoom` times larger than needed to fill `size` (height, width)."""
    height, width = size
    scale = max(height / still.image.shape[0], width / still.image.shape[1]) * zoom
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(still.image, None, fx=scale, fy=scale, interpolation=way)
    anchor = (image.shape[1] / 2, image.shape[0] / 2)
    frames = len(path.scale)
    images = np.stack([_window(image, path.to_layer(t, anchor, flip=flip), size) for t in range(frames)])
    return Clip(images, np.zeros((frames, height, width), np.uint8))


def run_of(
    video: LabeledVideo, times: list[int], size: tuple[int, int], path: Path, anchor: tuple[float, float], *, flip: bool
) -> Clip:
    """Cut frames `times` from a video so that its pixel `anchor` (x, y) lies at the path's place.

    Labels are the ids in `video.ids`.
    """
    images, labels = [], []
    for t, time in enumerate(times):
        matrix = path.to_layer(t, anchor, flip=flip)
        images.append(_window(video.frames[time], matrix, size))
        labels.append(_labels(video.labels[time], video.ids, matrix, size))
    return Clip(np.stack(images), np.stack(labels))


def _labels(labels: UInt8Array, ids: tuple[int, ...], matrix: NDArray[np.float64], size: tuple[int, int]) -> UInt8Array:
    """Sample each id as a mask of its own, for smooth borders when zoomed in."""
    out = np.zeros(size, np.uint8)
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    for i in set(ids) & set(present.tolist()):
        mask = np.where(labels == i, np.uint8(255), np.uint8(0))
        out[_window(mask, matrix, size, cv2.INTER_LINEAR) > 127] = i
    return out


def _window(
    image: Any, matrix: NDArray[np.float64], size: tuple[int, int], interpolation: int = cv2.INTER_CUBIC
) -> UInt8Array:
    """Warp an image into a window of `size` (height, width); it is mirrored beyond its border."""
    flags = interpolation | _INVERSE
    out = cv2.warpAffine(image, matrix, (size[1], size[0]), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(out, np.uint8)


def _blend(image: UInt8Array, labels: UInt8Array, pixels: UInt8Array, grid: NDArray[np.float32], label: int) -> None:
    """Blend premultiplied pixels, sampled at a grid, into views of one frame and its labels."""
    layer: Any = cv2.remap(pixels, grid, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    alpha = layer[..., 3]
    through = image * ((255 - alpha)[..., None] * np.float32(1 / 255))
    image[:] = np.minimum(through + layer[..., :3] + 0.5, 255)
    labels[alpha > 127] = label


def _apply(matrix: NDArray[np.float64], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    small = matrix.astype(np.float32)
    return np.stack([small[i, 0] * x + (small[i, 1] * y + small[i, 2]) for i in range(2)], axis=-1)


def _clamp(centre: float, reach: float, size: int) -> tuple[int, int]:
    return max(0, int(centre - reach)), min(size, int(centre + reach) + 1)
