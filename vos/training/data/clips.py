"""Clips seen by a moving view: cut from sequences, or made of a still that is moved and warped.

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
"""Candidates for the largest gap of a clip, equally likely up to the widest one allowed."""
LEAST_SHARE = 0.0005
"""Smallest share of a picture for an object to be followed: about 6 x 6 of 256 x 256 pixels."""


@dataclass(slots=True, eq=False)
class Clip:
    """Frames under construction; pasting changes them in place."""

    images: UInt8Array
    labels: UInt8Array

    def area(self, label: int, frame: int = 0) -> float:
        """Return the share of a frame that an object covers."""
        return float((self.labels[frame] == label).mean())

    def erase(self, label: int) -> None:
        """Relabel an object as background in all frames."""
        self.labels[self.labels == label] = 0

    def cut_to(self, other: Clip, first: int) -> None:
        """Replace the frames from `first` by those of another clip, without labels."""
        frames = slice(first, first + len(other.images))
        self.images[frames], self.labels[frames] = other.images, 0


@dataclass(frozen=True, slots=True)
class View:
    """View of a clip: `frames` pictures of `size` x `size` pixels.

    Attributes:
        frames: Number of frames.
        size: Side of a frame in pixels.
        zoom_spread: Share of a range of zooms that is drawn from; 0 draws its middle only.
        zoomed: Share of video clips whose zoom changes throughout, by up to three times.
        away: Whether the view pans away from its first position.
        widest_gap: Largest distance of neighbouring clip frames, in video frames.
    """

    frames: int
    size: int
    zoom_spread: float = 1.0
    zoomed: float = 0.0
    away: bool = False
    widest_gap: int = 1

    def zoom(self, rng: np.random.Generator, least: float, most: float) -> float:
        """Draw the clip pixels per source pixel: `least` to `most` at a size of 256, log-uniform."""
        half = np.log(most / least) / 2
        middle = np.sqrt(least * most) * (self.size / 256) ** 0.5
        return float(middle * np.exp(rng.uniform(-half, half) * self.zoom_spread))

    def pan(self, rng: np.random.Generator) -> NDArray[np.float32] | None:
        """Draw the pan for `sampling_maps`."""
        return look_away(rng, self.frames, self.size) if self.away else None


def real_clip(rng: np.random.Generator, video: LabeledVideo, view: View, objects: int) -> Clip | None:
    """Cut a clip from a sequence at random gaps and zoom, around one of its objects; None if frame 0 shows none.

    Up to `objects` of the visible objects are labelled 1...; with 0 the clip is a backdrop.
    """
    times = walk(rng, len(video.frames), view.frames, view.widest_gap)
    first = video.labels[times[0]]
    chosen = choose(rng, first, _visible(first, video.ids), max(objects, 1))
    if not chosen:
        return None
    scale = view.zoom(rng, 0.9, 2.4)
    last_scale = view.zoom(rng, 0.9, 2.7) if rng.random() < view.zoomed else None
    maps = sampling_maps(
        rng,
        frames=view.frames,
        size=view.size,
        centre=_look_at(rng, first == chosen[0], view.size / scale),
        scale=scale,
        strength=CAMERA,
        flip=bool(rng.random() < 0.5),
        last_scale=last_scale,
        pan=view.pan(rng),
    )
    return _sampled([video.frames[t] for t in times], [video.labels[t] for t in times], chosen[:objects], maps)


def still_clip(rng: np.random.Generator, still: LabeledStill, view: View, objects: int) -> Clip | None:
    """Make a clip by moving a still as a whole, with up to `objects` of its objects as labels; 0 for a backdrop."""
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
    """Draw a frame of a video as a still with its visible objects."""
    time = int(rng.integers(len(video.frames)))
    labels = video.labels[time]
    return LabeledStill(video.source, video.frames[time], labels, tuple(_visible(labels, video.ids)))


def absence(rng: np.random.Generator, frames: int) -> tuple[int, int]:
    """Draw a run of a clip's frames without frame 0: its first frame and its length."""
    first = int(rng.integers(1, frames))
    return first, int(rng.integers(1, frames - first + 1))


def walk(rng: np.random.Generator, length: int, frames: int, widest_gap: int) -> list[int]:
    """Draw the frame numbers of a clip: either direction, uneven gaps up to a random limit, turning at the ends."""
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
    """Draw up to `count` of the ids with a probability proportional to the square root of their area."""
    sides = np.sqrt(np.bincount(labels.ravel(), minlength=256)[list(ids)]) if ids else np.zeros(0)
    count = min(count, int((sides > 0).sum()))
    if count == 0:
        return []
    return [int(i) for i in rng.choice(list(ids), count, replace=False, p=sides / sides.sum())]


def _visible(labels: UInt8Array, ids: Sequence[int]) -> list[int]:
    sizes = np.bincount(labels.ravel(), minlength=256)
    return [i for i in ids if sizes[i] >= LEAST_SHARE * labels.size]


def _look_at(rng: np.random.Generator, mask: NDArray[np.bool_], view: float) -> tuple[float, float]:
    """Draw a point (x, y) between the object's centre and one of its pixels, jittered by a tenth of the view."""
    inside = np.argwhere(mask)
    y, x = inside.mean(axis=0) * 0.5 + inside[rng.integers(len(inside))] * 0.5 + rng.normal(0, 0.1 * view, 2)
    return float(x), float(y)


def _sampled(frames: list[UInt8Array], labels: list[UInt8Array], ids: list[int], maps: list[Map]) -> Clip:
    images = np.stack([sample_image(frame, grid) for frame, grid in zip(frames, maps, strict=True)])
    return Clip(images, np.stack([_sample_labels(label, ids, grid) for label, grid in zip(labels, maps, strict=True)]))


def _sample_labels(labels: UInt8Array, ids: list[int], grid: Map) -> UInt8Array:
    """Sample each id as a mask of its own, for smooth borders when zoomed in; labels 1.. in the order of `ids`."""
    out = np.zeros(grid.shape[:2], dtype=np.uint8)
    for number, i in enumerate(ids, start=1):
        out[sample_mask((labels == i).astype(np.uint8) * 255, grid) > 127] = number
    return out
