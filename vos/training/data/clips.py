"""Clips seen by a moving view: cut out of sequences, or made of a still that is moved and bent.

A clip is images uint8 [T, S, S, 3] and labels uint8 [T, S, S] with 0 background and 1..K objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec.types import UInt8Array
from vos.training.data.datasets import LabeledStill, LabeledVideo
from vos.training.data.sampling_maps import (
    BACKGROUND,
    CAMERA,
    GENTLE,
    STRONG,
    Map,
    look_away,
    sample_image,
    sample_mask,
    sampling_maps,
)

_GAPS = (1, 2, 3, 5, 8, 12, 20)
"""Largest gaps that a clip may have, each as likely, up to the widest one allowed."""
LEAST_SHARE = 0.0005
"""Smallest share of a picture that an object needs to be followed: some 6 x 6 of 256 x 256 pixels."""


@dataclass(slots=True, eq=False)
class Clip:
    """Frames under construction; pasting changes them in place."""

    images: UInt8Array
    labels: UInt8Array

    def area(self, label: int, frame: int = 0) -> float:
        """Share of a frame that an object covers."""
        return float((self.labels[frame] == label).mean())

    def erase(self, label: int) -> None:
        """Follow an object no longer."""
        self.labels[self.labels == label] = 0

    def cut_to(self, other: Clip, first: int) -> None:
        """Replace the frames from `first` on by another clip's, in which nothing is to be followed."""
        frames = slice(first, first + len(other.images))
        self.images[frames], self.labels[frames] = other.images, 0


@dataclass(frozen=True, slots=True)
class View:
    """How a clip is seen: `frames` pictures of `size` x `size` pixels.

    Attributes:
        zoom_spread: How much of a range of zooms is drawn from, 1: all of it, 0: its middle alone.
        zoomed: Share of clips of videos whose zoom changes throughout, up to three times.
        away: Whether it pans away from what it saw first.
        widest_gap: Most frames of a video from one frame of a clip to the next.
    """

    frames: int
    size: int
    zoom_spread: float = 1.0
    zoomed: float = 0.0
    away: bool = False
    widest_gap: int = 1

    def zoom(self, rng: np.random.Generator, least: float, most: float) -> float:
        """Pixels of the clip for one of the source: at 256 pixels `least` to `most`, evenly in its logarithm."""
        half = np.log(most / least) / 2
        middle = np.sqrt(least * most) * (self.size / 256) ** 0.5
        return float(middle * np.exp(rng.uniform(-half, half) * self.zoom_spread))

    def pan(self, rng: np.random.Generator) -> NDArray[np.float32] | None:
        """Where it looks, for `sampling_maps`."""
        return look_away(rng, self.frames, self.size) if self.away else None


def real_clip(rng: np.random.Generator, video: LabeledVideo, view: View, objects: int) -> Clip | None:
    """A crop of a sequence at random gaps and zoom, around one of its objects; None if the first frame shows none.

    Up to `objects` of those that it shows are labelled 1..., none to let it be a backdrop.
    """
    times = walk(rng, len(video.frames), view.frames, view.widest_gap)
    first = video.labels[times[0]]
    seen = choose(rng, first, _visible(first, video.ids), max(objects, 1))
    if not seen:
        return None
    scale = view.zoom(rng, 0.9, 2.4)
    last_scale = view.zoom(rng, 0.9, 2.7) if rng.random() < view.zoomed else None
    maps = sampling_maps(
        rng,
        frames=view.frames,
        size=view.size,
        centre=_look_at(rng, first == seen[0], view.size / scale),
        scale=scale,
        strength=CAMERA,
        flip=bool(rng.random() < 0.5),
        last_scale=last_scale,
        pan=view.pan(rng),
    )
    return _sampled([video.frames[t] for t in times], [video.labels[t] for t in times], seen[:objects], maps)


def still_clip(rng: np.random.Generator, still: LabeledStill, view: View, objects: int) -> Clip | None:
    """A still moved as a whole, with up to `objects` of its objects as labels (none: a background)."""
    chosen = choose(rng, still.labels, still.ids, objects)
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
        strength=BACKGROUND if not chosen else STRONG if rng.random() < 0.5 else GENTLE,
        flip=bool(rng.random() < 0.5),
        pan=view.pan(rng),
    )
    return _sampled([still.image] * view.frames, [still.labels] * view.frames, chosen, maps)


def frame_of(rng: np.random.Generator, video: LabeledVideo) -> LabeledStill:
    """A random frame of a video as a still, with those of its objects that it shows."""
    time = int(rng.integers(len(video.frames)))
    labels = video.labels[time]
    return LabeledStill(video.source, video.frames[time], labels, tuple(_visible(labels, video.ids)))


def absence(rng: np.random.Generator, frames: int) -> tuple[int, int]:
    """A random run of a clip's frames (the first one, how many), without frame 0."""
    first = int(rng.integers(1, frames))
    return first, int(rng.integers(1, frames - first + 1))


def walk(rng: np.random.Generator, length: int, frames: int, widest_gap: int) -> list[int]:
    """Frame numbers of a clip: forwards or backwards at uneven gaps up to a random largest one, turning at the ends."""
    gaps = [gap for gap in _GAPS if gap <= widest_gap]
    widest = min(int(rng.choice(gaps)), max(1, (length - 1) // max(1, frames - 1)))
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


def choose(rng: np.random.Generator, labels: UInt8Array, ids: Sequence[int], count: int) -> list[int]:
    """Up to `count` of the ids, large ones more often: by the side of a square of their area."""
    sides = np.sqrt(np.bincount(labels.ravel(), minlength=256)[list(ids)]) if ids else np.zeros(0)
    count = min(count, int((sides > 0).sum()))
    if count == 0:
        return []
    return [int(i) for i in rng.choice(list(ids), count, replace=False, p=sides / sides.sum())]


def _visible(labels: UInt8Array, ids: Sequence[int]) -> list[int]:
    sizes = np.bincount(labels.ravel(), minlength=256)
    return [i for i in ids if sizes[i] >= LEAST_SHARE * labels.size]


def _look_at(rng: np.random.Generator, mask: NDArray[np.bool_], view: float) -> tuple[float, float]:
    """A point (x, y) between the object's centre and one of its pixels, jittered by a tenth of the view."""
    inside = np.argwhere(mask)
    y, x = inside.mean(axis=0) * 0.5 + inside[rng.integers(len(inside))] * 0.5 + rng.normal(0, 0.1 * view, 2)
    return float(x), float(y)


def _sampled(frames: list[UInt8Array], labels: list[UInt8Array], ids: list[int], maps: list[Map]) -> Clip:
    images = np.stack([sample_image(frame, grid) for frame, grid in zip(frames, maps, strict=True)])
    return Clip(images, np.stack([_sample_labels(label, ids, grid) for label, grid in zip(labels, maps, strict=True)]))


def _sample_labels(labels: UInt8Array, ids: list[int], grid: Map) -> UInt8Array:
    """Each id sampled as a mask of its own, so that borders are smooth when zoomed in; 1.. in the order of ids."""
    out = np.zeros(grid.shape[:2], dtype=np.uint8)
    for number, i in enumerate(ids, start=1):
        out[sample_mask((labels == i).astype(np.uint8) * 255, grid) > 127] = number
    return out
