"""Random clips for the base network. Every clip is drawn in four steps.

1. Scene: a run of a video or a moved still, of which up to K objects are followed.
2. Pasted objects: missing objects are pasted over the scene, each on a path of its own.
3. Rivals, which look like an object but are not followed, and occluders, which pass over one.
4. Absence: the view pans away, the last pasted object leaves, or the clip cuts to another one and perhaps back.
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

_PACE = Pace(shift=36, zoom=0.22, turn=0.15, warp=20)
"""Speed of pasted objects in pixels per clip frame; clip frames lie several video frames apart."""
_LEAVING_PACE = Pace(shift=36, zoom=0.05, turn=0.1, warp=10)
_TINY = (8.0, 40.0)
"""Smallest and largest side of tiny pasted objects, in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipSources:
    """Videos and stills that clips are drawn from, and the recipe to draw by."""

    videos: Weighted[LabeledVideo]
    stills: Weighted[LabeledStill]
    recipe: Recipe

    @classmethod
    def of(cls, data: TrainingData, recipe: Recipe) -> ClipSources:
        """Weigh all sets by the recipe."""
        weights = recipe.set_weights
        videos = Weighted[LabeledVideo].of((name, members, weights) for name, members in sorted(data.videos.items()))
        stills = Weighted[LabeledStill].of((name, members, weights) for name, members in sorted(data.stills.items()))
        return cls(videos, stills, recipe)

    def draw(self, rng: np.random.Generator) -> LabeledVideo | LabeledStill:
        """Draw a video or a still."""
        if self.videos.items and (not self.stills.items or rng.random() < self.recipe.real_clips):
            return self.videos.draw(rng)
        return self.stills.draw(rng)

    def alike(self, rng: np.random.Generator, other: LabeledVideo | LabeledStill) -> LabeledVideo | LabeledStill:
        """Draw an item of the same set, which often shows the same kind of object; sometimes `other` itself."""
        if isinstance(other, LabeledVideo):
            return self.videos.draw_like(rng, other)
        return self.stills.draw_like(rng, other)

    def picture(self, rng: np.random.Generator, near: LabeledVideo | LabeledStill) -> LabeledStill:
        """Draw a picture to cut an object from: `near` itself, an item of its set, or any still."""
        drawn = rng.random()
        source = near if drawn < 0.4 else self.alike(rng, near) if drawn < 0.7 or not self.stills.items else None
        source = source or self.stills.draw(rng)
        return frame_of(rng, source) if isinstance(source, LabeledVideo) else source


def draw_clip(rng: np.random.Generator, sources: ClipSources, view: View, objects: int) -> Clip | None:
    """Draw a clip whose labels 1..`objects` are followed from frame 0; None if the draw shows no object."""
    recipe = sources.recipe
    source = sources.draw(rng)
    own = 0 if isinstance(source, LabeledStill) and rng.random() < recipe.copy_paste else objects
    absent = rng.random() < recipe.absent
    cut = absent and rng.random() < 0.5
    clip = _scene(rng, source, replace(view, away=absent and not cut and own > 0), own, recipe)
    if clip is None:
        return None
    model = source if own or not sources.stills.items else sources.stills.draw(rng)
    missing = [label for label in range(1, objects + 1) if clip.area(label) < LEAST_SHARE]
    for label in missing:
        clip.erase(label)
        picture = model if label == 1 and isinstance(model, LabeledStill) else sources.picture(rng, model)
        side = _object_side(rng, view.size, recipe.tiny)
        _paste_object(rng, clip, (picture, label, side), leaves=absent and not cut and label == missing[-1])
    if rng.random() < recipe.rivals:
        _paste_rival(rng, clip, sources.picture(rng, model))
    if rng.random() < recipe.occluders:
        _paste_occluder(rng, clip, sources.picture(rng, sources.draw(rng)))
    if cut:
        _cut_away(rng, clip, sources, source, view)
    for label in range(1, objects + 1):
        if clip.area(label) == 0:
            clip.erase(label)
    return clip


def _scene(
    rng: np.random.Generator, source: LabeledVideo | LabeledStill, view: View, objects: int, recipe: Recipe
) -> Clip | None:
    if isinstance(source, LabeledStill):
        return still_clip(rng, source, view, objects)
    spacing = recipe.spacing.get(source.source.partition("/")[0], 1)
    return real_clip(rng, source, replace(view, widest_gap=max(1, view.widest_gap // spacing)), objects)


def _object_side(rng: np.random.Generator, size: int, tiny: float) -> float:
    """Draw an object size: the side in pixels of a square of the object's area, in a picture of side `size`."""
    if rng.random() < tiny:
        return float(np.exp(rng.uniform(*np.log(_TINY))))
    return float(rng.uniform(0.12, 0.5)) * size


def _paste_object(rng: np.random.Generator, clip: Clip, part: tuple[LabeledStill, int, float], *, leaves: bool) -> None:
    """Paste a followed object (still, label, side) that mostly stays visible, or leaves over a side of the picture."""
    frames, size = clip.labels.shape[:2]
    still, label, side = part
    if leaves:
        _paste(rng, clip, (still, label, min(side, 0.2 * size)), None)
    else:
        start = (float(rng.uniform(0.15, 0.85)) * size, float(rng.uniform(0.15, 0.85)) * size)
        _paste(rng, clip, part, wander(rng, frames, start, _PACE))


def _paste_rival(rng: np.random.Generator, clip: Clip, still: LabeledStill) -> None:
    """Paste a rival: about as large as an object, staying beside it or crossing it."""
    frames, size = clip.labels.shape[:2]
    place, side = _random_object(rng, clip.labels[0])
    side *= float(np.exp(rng.uniform(-0.4, 0.4)))
    if rng.random() < 0.5:
        path = cross(rng, frames, place, float(rng.uniform(1.0, 2.0)) * side, _PACE)
    else:
        path = wander(rng, frames, (float(rng.uniform(0, size)), float(rng.uniform(0, size))), _PACE)
    _paste(rng, clip, (still, 0, side), path)


def _paste_occluder(rng: np.random.Generator, clip: Clip, still: LabeledStill) -> None:
    """Paste an occluder that passes over an object, small or large enough to hide it."""
    place, side = _random_object(rng, clip.labels[0])
    path = cross(rng, len(clip.labels), place, float(rng.uniform(1.0, 2.5)) * side, _PACE)
    _paste(rng, clip, (still, 0, max(12.0, float(rng.uniform(0.5, 1.8)) * side)), path)


def _paste(rng: np.random.Generator, clip: Clip, part: tuple[LabeledStill, int, float], path: Path | None) -> None:
    """Paste an object (still, label, side) along a path; by default it leaves over a side and perhaps returns."""
    still, label, side = part
    for chosen in choose(rng, still.labels, still.ids, 1):
        sprite = cut_out(still, chosen, side)
        if path is None:
            frames, size = len(clip.labels), clip.labels.shape[1:]
            path = leave(
                rng, (size[0], size[1]), frames, sprite.radius, _LEAVING_PACE, come_back=bool(rng.random() < 0.6)
            )
        paste_sprite(rng, clip, sprite, path, label, flip=bool(rng.random() < 0.5))


def _cut_away(
    rng: np.random.Generator, clip: Clip, sources: ClipSources, source: LabeledVideo | LabeledStill, view: View
) -> None:
    """Cut to another item, sometimes of the same set, for some frames or until the end."""
    other = sources.alike(rng, source) if rng.random() < 0.3 else sources.draw(rng)
    if other.source == source.source:
        return
    first, frames = absence(rng, view.frames)
    shot = _scene(rng, other, replace(view, frames=frames, widest_gap=1), 0, sources.recipe)
    if shot is not None:
        clip.cut_to(shot, first)


def _random_object(rng: np.random.Generator, labels: UInt8Array) -> tuple[tuple[float, float], float]:
    """Draw a pixel (x, y) of an object and return it with the side of a square of the object's area."""
    ids = [int(i) for i in np.unique(labels) if i]
    if not ids:
        size = len(labels)
        return (float(rng.uniform(0, size)), float(rng.uniform(0, size))), 0.2 * size
    inside = np.argwhere(labels == rng.choice(ids))
    y, x = inside[rng.integers(len(inside))]
    return (float(x), float(y)), float(np.sqrt(len(inside)))
