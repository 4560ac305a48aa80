"""Random clips for the base network, all drawn in one way.

1. A set: a run of a video or a moved still, of which up to K objects are followed, or none.
2. A cast: objects that are still missing are pasted over it, each on a path of its own.
3. Rivals that look like an object and are not to be followed, and things that pass over it.
4. Absence: the view pans away, the last one of the cast leaves, or there is a cut to another clip and perhaps back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from codec.types import UInt8Array
from vos.training.base.recipe import Recipe
from vos.training.data.clips import LEAST_SHARE, Clip, View, absence, choose, frame_of, real_clip, still_clip
from vos.training.data.datasets import LabeledStill, LabeledVideo, TrainingData
from vos.training.data.scene_sampler import Weighted
from vos.training.data.scenes import cut_out, paste_sprite
from vos.training.data.trajectories import Pace, Path, cross, leave, wander

_STEP = Pace(shift=36, zoom=0.22, turn=0.15, warp=20)
"""How fast pasted objects are, in pixels a frame of a clip: there are several of a film's from one to the next."""
_LEAVING = Pace(shift=36, zoom=0.05, turn=0.1, warp=10)
_TINY = (8.0, 40.0)
"""Sides of small pasted objects in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """What clips are drawn from, and how."""

    videos: Weighted[LabeledVideo]
    stills: Weighted[LabeledStill]
    recipe: Recipe

    @classmethod
    def of(cls, data: TrainingData, recipe: Recipe) -> Sources:
        """All sets by the recipe's weights."""
        weights = recipe.set_weights
        videos = Weighted[LabeledVideo].of((name, members, weights) for name, members in sorted(data.videos.items()))
        stills = Weighted[LabeledStill].of((name, members, weights) for name, members in sorted(data.stills.items()))
        return cls(videos, stills, recipe)

    def draw(self, rng: np.random.Generator) -> LabeledVideo | LabeledStill:
        """A video or a still."""
        if self.videos.items and (not self.stills.items or rng.random() < self.recipe.real_clips):
            return self.videos.draw(rng)
        return self.stills.draw(rng)

    def alike(self, rng: np.random.Generator, other: LabeledVideo | LabeledStill) -> LabeledVideo | LabeledStill:
        """Another item of the same set, which often shows the same kind of thing; now and then the same one."""
        if isinstance(other, LabeledVideo):
            return self.videos.draw_like(rng, other)
        return self.stills.draw_like(rng, other)

    def picture(self, rng: np.random.Generator, near: LabeledVideo | LabeledStill) -> LabeledStill:
        """A picture to cut an object from: the same one, one of its set, or any still."""
        drawn = rng.random()
        source = near if drawn < 0.4 else self.alike(rng, near) if drawn < 0.7 or not self.stills.items else None
        source = source or self.stills.draw(rng)
        return frame_of(rng, source) if isinstance(source, LabeledVideo) else source


def draw_clip(rng: np.random.Generator, sources: Sources, view: View, objects: int) -> Clip | None:
    """A clip whose labels 1..`objects` are to be followed from frame 0; None where the draw shows no object."""
    recipe = sources.recipe
    source = sources.draw(rng)
    own = 0 if isinstance(source, LabeledStill) and rng.random() < recipe.copy_paste else objects
    gone = rng.random() < recipe.absent
    cut = gone and rng.random() < 0.5
    clip = _seen(rng, source, replace(view, away=gone and not cut and own > 0), own, recipe)
    if clip is None:
        return None
    model = source if own or not sources.stills.items else sources.stills.draw(rng)
    missing = [label for label in range(1, objects + 1) if clip.area(label) < LEAST_SHARE]
    for label in missing:
        clip.erase(label)
        picture = model if label == 1 and isinstance(model, LabeledStill) else sources.picture(rng, model)
        side = _some_side(rng, view.size, recipe.tiny)
        _paste_object(rng, clip, (picture, label, side), leaves=gone and not cut and label == missing[-1])
    if rng.random() < recipe.rivals:
        _paste_rival(rng, clip, sources.picture(rng, model))
    if rng.random() < recipe.occluders:
        _paste_occluder(rng, clip, sources.picture(rng, sources.draw(rng)))
    if cut:
        _cut(rng, clip, sources, source, view)
    for label in range(1, objects + 1):
        if clip.area(label) == 0:
            clip.erase(label)
    return clip


def _seen(
    rng: np.random.Generator, source: LabeledVideo | LabeledStill, view: View, objects: int, recipe: Recipe
) -> Clip | None:
    if isinstance(source, LabeledStill):
        return still_clip(rng, source, view, objects)
    spacing = recipe.spacing.get(source.source.partition("/")[0], 1)
    return real_clip(rng, source, replace(view, widest_gap=max(1, view.widest_gap // spacing)), objects)


def _some_side(rng: np.random.Generator, size: int, tiny: float) -> float:
    """Side in pixels of a square as large as an object is to be in a picture of `size`."""
    if rng.random() < tiny:
        return float(np.exp(rng.uniform(*np.log(_TINY))))
    return float(rng.uniform(0.12, 0.5)) * size


def _paste_object(rng: np.random.Generator, clip: Clip, part: tuple[LabeledStill, int, float], *, leaves: bool) -> None:
    """Paste one to follow (still, label, side): mostly seen throughout, or one that goes out over a side."""
    frames, size = clip.labels.shape[:2]
    still, label, side = part
    if leaves:
        _paste(rng, clip, (still, label, min(side, 0.2 * size)), None)
    else:
        start = (float(rng.uniform(0.15, 0.85)) * size, float(rng.uniform(0.15, 0.85)) * size)
        _paste(rng, clip, part, wander(rng, frames, start, _STEP))


def _paste_rival(rng: np.random.Generator, clip: Clip, still: LabeledStill) -> None:
    """Paste something that looks like an object, about as large as it, that stays beside it or crosses it."""
    frames, size = clip.labels.shape[:2]
    place, side = _somewhere(rng, clip.labels[0])
    side *= float(np.exp(rng.uniform(-0.4, 0.4)))
    if rng.random() < 0.5:
        path = cross(rng, frames, place, float(rng.uniform(1.0, 2.0)) * side, _STEP)
    else:
        path = wander(rng, frames, (float(rng.uniform(0, size)), float(rng.uniform(0, size))), _STEP)
    _paste(rng, clip, (still, 0, side), path)


def _paste_occluder(rng: np.random.Generator, clip: Clip, still: LabeledStill) -> None:
    """Let something, small or large enough to hide it, pass over an object."""
    place, side = _somewhere(rng, clip.labels[0])
    path = cross(rng, len(clip.labels), place, float(rng.uniform(1.0, 2.5)) * side, _STEP)
    _paste(rng, clip, (still, 0, max(12.0, float(rng.uniform(0.5, 1.8)) * side)), path)


def _paste(rng: np.random.Generator, clip: Clip, part: tuple[LabeledStill, int, float], path: Path | None) -> None:
    """Paste an object (still, label, side) along a path; without one, out over a side of the picture, perhaps back."""
    still, label, side = part
    for chosen in choose(rng, still.labels, still.ids, 1):
        sprite = cut_out(still, chosen, side)
        if path is None:
            frames, size = len(clip.labels), clip.labels.shape[1:]
            path = leave(rng, (size[0], size[1]), frames, sprite.radius, _LEAVING, come_back=bool(rng.random() < 0.6))
        paste_sprite(rng, clip, sprite, path, label, flip=bool(rng.random() < 0.5))


def _cut(
    rng: np.random.Generator, clip: Clip, sources: Sources, source: LabeledVideo | LabeledStill, view: View
) -> None:
    """Cut to something else, of the same set at times, for some frames or until the end."""
    other = sources.alike(rng, source) if rng.random() < 0.3 else sources.draw(rng)
    if other.source == source.source:
        return
    first, frames = absence(rng, view.frames)
    shot = _seen(rng, other, replace(view, frames=frames, widest_gap=1), 0, sources.recipe)
    if shot is not None:
        clip.cut_to(shot, first)


def _somewhere(rng: np.random.Generator, labels: UInt8Array) -> tuple[tuple[float, float], float]:
    """A pixel (x, y) of one of a picture's objects, and the side of a square as large as it."""
    ids = [int(i) for i in np.unique(labels) if i]
    if not ids:
        size = len(labels)
        return (float(rng.uniform(0, size)), float(rng.uniform(0, size))), 0.2 * size
    inside = np.argwhere(labels == rng.choice(ids))
    y, x = inside[rng.integers(len(inside))]
    return (float(x), float(y)), float(np.sqrt(len(inside)))
