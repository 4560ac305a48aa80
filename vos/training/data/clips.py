"""Making clips: real ones cropped from sequences, pseudo ones moved out of stills, objects pasted over either.

A clip is images uint8 [T, S, S, 3] and labels uint8 [T, S, S] with 0 background and 1..K objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from codec.types import UInt8Array
from vos.training.data.datasets import Still, Video
from vos.training.data.sampling_maps import (
    BACKGROUND,
    CAMERA,
    GENTLE,
    STRONG,
    Map,
    Strength,
    sample_image,
    sample_mask,
    sampling_maps,
)

_GAPS = (1, 2, 3, 5, 8, 12)
"""Largest gaps that a clip may have, each as likely, up to the widest one allowed."""


@dataclass(slots=True, eq=False)
class Clip:
    """Frames under construction; pasting changes them in place."""

    images: UInt8Array
    labels: UInt8Array

    def area(self, label: int, frame: int = 0) -> float:
        """Share of a frame that an object covers."""
        return float((self.labels[frame] == label).mean())


@dataclass(frozen=True, slots=True)
class View:
    """How a clip is seen: `frames` pictures of `size` x `size` pixels.

    Attributes:
        zoom_spread: How much of a range of zooms is drawn from, 1: all of it, 0: its middle alone.
    """

    frames: int
    size: int
    zoom_spread: float = 1.0

    def zoom(self, rng: np.random.Generator, least: float, most: float) -> float:
        """Pixels of the clip for one of the source: at 256 pixels `least` to `most`, evenly in its logarithm."""
        half = np.log(most / least) / 2
        middle = np.sqrt(least * most) * (self.size / 256) ** 0.5
        return float(middle * np.exp(rng.uniform(-half, half) * self.zoom_spread))


def real_clip(rng: np.random.Generator, video: Video, view: View, objects: int, widest_gap: int) -> Clip | None:
    """A crop of a sequence at random gaps and zoom, around one of its objects; None if the first frame shows none."""
    times = walk(rng, len(video.frames), view.frames, widest_gap)
    first = video.labels[times[0]]
    ids = _visible(first, video.ids)
    if not ids:
        return None
    chosen = list(rng.permutation(ids)[:objects])
    scale = view.zoom(rng, 0.9, 2.4)
    maps = sampling_maps(
        rng,
        frames=view.frames,
        size=view.size,
        centre=_look_at(rng, first == chosen[0], view.size / scale),
        scale=scale,
        strength=CAMERA,
        flip=bool(rng.random() < 0.5),
    )
    images = np.stack([sample_image(video.frames[t], grid) for t, grid in zip(times, maps, strict=True)])
    labels = np.stack([_sample_labels(video.labels[t], chosen, grid) for t, grid in zip(times, maps, strict=True)])
    return Clip(images, labels)


def still_clip(rng: np.random.Generator, still: Still, view: View, objects: int) -> Clip | None:
    """A still moved as a whole, with up to `objects` of its objects as labels (none: a background)."""
    chosen = list(rng.permutation(still.ids)[:objects])
    if objects and not chosen:
        return None
    scale = view.zoom(rng, 0.7, 1.8)
    height, width = still.labels.shape
    look = _look_at(rng, still.labels == chosen[0], view.size / scale) if chosen else (width / 2, height / 2)
    maps = sampling_maps(
        rng,
        frames=view.frames,
        size=view.size,
        centre=look,
        scale=scale,
        strength=_strength(rng) if chosen else BACKGROUND,
        flip=bool(rng.random() < 0.5),
    )
    images = np.stack([sample_image(still.image, grid) for grid in maps])
    labels = np.stack([_sample_labels(still.labels, chosen, grid) for grid in maps])
    return Clip(images, labels)


def paste(rng: np.random.Generator, clip: Clip, still: Still, label: int, away: tuple[int, ...] = ()) -> None:
    """Paste one of a still's objects over the clip on a path of its own: as object `label`, or unlabelled (0).

    In the frames `away` it is not there.
    """
    if not still.ids:
        return
    mask = (still.labels == rng.choice(still.ids)).astype(np.uint8) * 255
    frames, size = clip.labels.shape[:2]
    inside = np.argwhere(mask)
    scale = float(rng.uniform(0.15, 0.5) * size / np.sqrt(len(inside)))
    at = rng.uniform(-0.35, 0.35, 2) * size
    centre = inside.mean(axis=0)[::-1] - at / scale
    maps = sampling_maps(
        rng,
        frames=frames,
        size=size,
        centre=(float(centre[0]), float(centre[1])),
        scale=scale,
        strength=_strength(rng),
        flip=bool(rng.random() < 0.5),
    )
    for t, grid in enumerate(maps):
        if t in away:
            continue
        alpha = sample_mask(mask, grid, mirror=False)
        soft = cv2.GaussianBlur(alpha, (3, 3), 0)[..., None].astype(np.float32) / 255
        layer = sample_image(still.image, grid)
        clip.images[t] = (layer * soft + clip.images[t] * (1 - soft)).astype(np.uint8)
        clip.labels[t][alpha > 127] = label


def frame_of(rng: np.random.Generator, video: Video) -> Still:
    """A random frame of a video as a still, with those of its objects that it shows well."""
    time = int(rng.integers(len(video.frames)))
    labels = video.labels[time]
    return Still(video.source, video.frames[time], labels, tuple(_visible(labels, video.ids)))


def absence(rng: np.random.Generator, frames: int) -> tuple[int, ...]:
    """A random run of a clip's frames, without the first one."""
    first = int(rng.integers(1, frames))
    return tuple(range(first, int(rng.integers(first + 1, frames + 1))))


def walk(rng: np.random.Generator, length: int, frames: int, widest_gap: int) -> list[int]:
    """Frame numbers of a clip: forwards or backwards at uneven gaps up to a random largest one, turning at the ends."""
    gaps = [gap for gap in _GAPS if gap <= widest_gap]
    widest = min(int(rng.choice(gaps)), max(1, (length - 1) // (frames - 1)))
    position = int(rng.integers(length))
    direction = 1 if rng.random() < 0.5 else -1
    times = [position]
    for _ in range(frames - 1):
        gap = int(rng.integers(1, widest + 1))
        if not 0 <= position + direction * gap < length:
            direction = -direction
        position = min(max(position + direction * gap, 0), length - 1)
        times.append(position)
    return times


def _visible(labels: UInt8Array, ids: tuple[int, ...]) -> list[int]:
    """Ids that cover at least 0.2 % of a frame."""
    sizes = np.bincount(labels.ravel(), minlength=256)
    return [i for i in ids if sizes[i] >= 0.002 * labels.size]


def _look_at(rng: np.random.Generator, mask: NDArray[np.bool_], view: float) -> tuple[float, float]:
    """A point (x, y) between the object's centre and one of its pixels, jittered by a tenth of the view."""
    inside = np.argwhere(mask)
    y, x = inside.mean(axis=0) * 0.5 + inside[rng.integers(len(inside))] * 0.5 + rng.normal(0, 0.1 * view, 2)
    return float(x), float(y)


def _strength(rng: np.random.Generator) -> Strength:
    return STRONG if rng.random() < 0.5 else GENTLE


def _sample_labels(labels: UInt8Array, ids: list[int], grid: Map) -> UInt8Array:
    """Each id sampled as a mask of its own, so that borders are smooth when zoomed in; 1.. in the order of ids."""
    out = np.zeros(grid.shape[:2], dtype=np.uint8)
    for number, i in enumerate(ids, start=1):
        out[sample_mask((labels == i).astype(np.uint8) * 255, grid) > 127] = number
    return out
