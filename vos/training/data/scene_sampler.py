"""Random scenes for coded clips: videos or stills, their view, and the objects that move over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from codec.types import UInt8Array
from vos.training.data.clips import Clip
from vos.training.data.datasets import LabeledStill, LabeledVideo
from vos.training.data.scenes import cut_out, moved_still, paste_sprite, run_of
from vos.training.data.trajectories import CALM, CAMERA, LIVELY, REST, Pace, cross, leave, wander

_Item = TypeVar("_Item", LabeledStill, LabeledVideo)
_FIRST_OWN_LABEL = 200
"""First label of pasted objects, above the ids of any video below them."""


@dataclass(frozen=True, slots=True, eq=False)
class Weighted(Generic[_Item]):
    """Items to draw from by weight.

    Attributes:
        items: (set name, item) of each item with an object and a weight above 0.
        cumulative: Cumulative probabilities, float64 [n].
    """

    items: list[tuple[str, _Item]]
    cumulative: np.ndarray

    @classmethod
    def of(cls, sets: Iterable[tuple[str, Sequence[_Item], Mapping[str, float]]]) -> Weighted[_Item]:
        """Collect the items of sets (name, members, weights by set name)."""
        found = [
            ((name, item), weights.get(name, 1.0)) for name, members, weights in sets for item in members if item.ids
        ]
        found = [(item, weight) for item, weight in found if weight > 0]
        total = np.cumsum([weight for _, weight in found])
        return cls([item for item, _ in found], total / total[-1] if found else total)

    def draw(self, rng: np.random.Generator) -> _Item:
        """Draw an item by weight."""
        return self.items[self._place(rng)][1]

    def draw_like(self, rng: np.random.Generator, other: _Item) -> _Item:
        """Draw an item of the same set as `other`."""
        sets = {name for name, item in self.items if item is other}
        alike = [item for name, item in self.items if name in sets]
        return alike[int(rng.integers(len(alike)))]

    def _place(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self.cumulative, rng.random())), len(self.items) - 1)


Scene = tuple[Clip, str]
"""A clip and the name of its source."""


def video_scene(
    rng: np.random.Generator,
    videos: Weighted[LabeledVideo],
    stills: Weighted[LabeledStill],
    frames: int,
    size: tuple[int, int],
) -> Scene | None:
    """Draw a run of a video, sometimes with a pasted object; None if its first frame shows no object."""
    video = videos.draw(rng)
    clip = _run(rng, video, frames, size)
    if clip is None:
        return None
    if stills.items and rng.random() < 0.2:
        _paste_object(rng, clip, stills.draw(rng), _FIRST_OWN_LABEL)
    if stills.items and rng.random() < 0.12:
        _paste_occluder(rng, clip, stills.draw(rng))
    return clip, video.source


def still_scene(
    rng: np.random.Generator,
    videos: Weighted[LabeledVideo],
    stills: Weighted[LabeledStill],
    frames: int,
    size: tuple[int, int],
) -> Scene | None:
    """Draw objects of stills over a moving background, a still or a run of a video."""
    clip, behind = _background(rng, videos, stills, frames, size)
    if clip is None:
        return None
    first = stills.draw(rng)
    if rng.random() < 0.35:
        _paste_object(rng, clip, stills.draw_like(rng, first) if rng.random() < 0.7 else first, 0)
    for number in range(int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))):
        still = first if number == 0 else stills.draw_like(rng, first) if rng.random() < 0.5 else stills.draw(rng)
        _paste_object(rng, clip, still, _FIRST_OWN_LABEL + number)
    if rng.random() < 0.35:
        _paste_occluder(rng, clip, stills.draw(rng))
    return clip, f"{first.source} over {behind}"


def _run(rng: np.random.Generator, video: LabeledVideo, frames: int, size: tuple[int, int]) -> Clip | None:
    """Draw a run in either direction at stride 1 or 2, enlarged around an object of its first frame."""
    stride = 2 if rng.random() < 0.25 and len(video.frames) > 2 * frames else 1
    start = int(rng.integers(len(video.frames) - stride * (frames - 1)))
    times = [start + stride * t for t in range(frames)]
    if rng.random() < 0.4:
        times.reverse()
    first = video.labels[times[0]]
    areas = np.bincount(first.ravel(), minlength=256)
    shown = [i for i in video.ids if areas[i] >= 0.001 * first.size]
    if not shown:
        return None
    scale = max(float(rng.uniform(1.4, 2.2)), size[0] / first.shape[0] * 1.02, size[1] / first.shape[1] * 1.02)
    anchor = _look_at(rng, first == rng.choice(shown), size, scale)
    pace = CAMERA if rng.random() < 0.4 else REST
    path = wander(rng, frames, ((size[1] - 1) / 2, (size[0] - 1) / 2), pace, scale)
    return run_of(video, times, size, path, anchor, flip=bool(rng.random() < 0.5))


def _look_at(rng: np.random.Generator, mask: np.ndarray, size: tuple[int, int], scale: float) -> tuple[float, float]:
    """Draw a point (x, y) near the object so that a view of `size` around it lies within the picture."""
    rows, columns = np.nonzero(mask)
    pixel = int(rng.integers(len(rows)))
    place = []
    for axis, inside in ((1, columns), (0, rows)):
        view = size[axis] / scale
        wanted = 0.5 * inside.mean() + 0.5 * inside[pixel] + rng.normal(0, 0.12 * view)
        least = min(view, mask.shape[axis]) / 2
        place.append(float(np.clip(wanted, least, mask.shape[axis] - least)))
    return place[0], place[1]


def _background(
    rng: np.random.Generator,
    videos: Weighted[LabeledVideo],
    stills: Weighted[LabeledStill],
    frames: int,
    size: tuple[int, int],
) -> tuple[Clip | None, str]:
    if videos.items and rng.random() < 0.4:
        video = videos.draw(rng)
        return _run(rng, video, frames, size), video.source
    still = stills.draw(rng)
    pace = REST if rng.random() < 0.15 else CAMERA if rng.random() < 0.6 else Pace(shift=12, zoom=0.02, turn=0.02)
    path = wander(rng, frames, (size[1] / 2, size[0] / 2), pace)
    zoom = float(rng.uniform(1.05, 1.5))
    return moved_still(still, size, path, zoom=zoom, flip=bool(rng.random() < 0.5)), still.source


def _paste_object(rng: np.random.Generator, clip: Clip, still: LabeledStill, label: int) -> None:
    """Paste an object of a still on a path of its own: mostly visible throughout, sometimes leaving the picture."""
    frames, height, width = clip.labels.shape
    pace = CALM if rng.random() < 0.5 else LIVELY
    flip = bool(rng.random() < 0.5)
    if rng.random() < 0.2:
        sprite = cut_out(still, int(rng.choice(still.ids)), float(rng.uniform(0.08, 0.16)) * min(height, width))
        path = leave(rng, (height, width), frames, sprite.radius, pace, come_back=bool(rng.random() < 0.6))
    else:
        sprite = cut_out(still, int(rng.choice(still.ids)), float(rng.uniform(0.12, 0.5)) * min(height, width))
        start = (float(rng.uniform(0.15, 0.85)) * width, float(rng.uniform(0.15, 0.85)) * height)
        path = wander(rng, frames, start, pace)
    paste_sprite(rng, clip, sprite, path, label, flip=flip)


def _paste_occluder(rng: np.random.Generator, clip: Clip, still: LabeledStill) -> None:
    """Paste an occluder that passes over an object of the first frame."""
    frames, height, width = clip.labels.shape
    place = _random_pixel(rng, clip.labels[0])
    sprite = cut_out(still, int(rng.choice(still.ids)), float(rng.uniform(0.08, 0.3)) * min(height, width))
    distance = float(rng.uniform(0.8, 1.6)) * sprite.radius
    path = cross(rng, frames, place, distance, LIVELY)
    paste_sprite(rng, clip, sprite, path, 0, flip=bool(rng.random() < 0.5))


def _random_pixel(rng: np.random.Generator, labels: UInt8Array) -> tuple[float, float]:
    """Draw a pixel (x, y) of any object, or of the picture if there is none."""
    rows, columns = np.nonzero(labels)
    if not len(rows):
        return float(rng.uniform(0, labels.shape[1])), float(rng.uniform(0, labels.shape[0]))
    pixel = int(rng.integers(len(rows)))
    return float(columns[pixel]), float(rows[pixel])
