"""Batches of clips, each clip a pure function of (seed, step, place in the batch).

A resumed run therefore sees the same batches as an uninterrupted one, and processes can share a batch without
communicating.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from codec.types import UInt8Array
from vos.training.base.clip_sampler import ClipSources, draw_clip
from vos.training.base.recipe import Recipe, Stage
from vos.training.data.clips import LEAST_SHARE, Clip, View
from vos.training.data.datasets import TrainingData
from vos.training.data.mask_corruption import mask_errors, rough_propagation
from vos.training.data.photometry import recolour

OWN, PROPAGATED, EMPTY = 0, 1, 2
"""Source of a frame's expected mask: the network's previous prediction, a corrupted copy of the truth, or none."""

Batch = dict[str, Tensor]
"""B clips of T frames of S x S pixels with K objects; h = w = S / 4.

| tensor | type | content |
| --- | --- | --- |
| images | uint8 [B, T, S, S, 3] | RGB |
| labels | uint8 [B, T, S, S] | truth: 0 background, 1..K objects |
| propagated | uint8 [B, T, K, h, w] | masks as if propagated, see `rough_propagation` |
| keep, leak | uint8 [B, T, K, h, w] | errors of the masks in memory, see `mask_errors` |
| expected | uint8 [B, T] | OWN, PROPAGATED or EMPTY |
| shift | int64 [B, T, 2] | displacement of an OWN mask in stride-4 cells |
| middle | int64 [T] | frame in memory beside the first and the previous one; 0: none |
| blind | bool [T] | frames without an expected mask |
"""


class ClipBatches(Dataset[Batch]):
    """Item `step` is the batch of training step `step`, or the equal share of it that process `rank` trains on."""

    def __init__(self, data: TrainingData, recipe: Recipe, rank: int = 0, processes: int = 1) -> None:
        self.recipe = recipe
        self.rank = rank
        self.processes = processes
        self.sources = ClipSources.of(data, recipe)

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(0)
        shared = np.random.default_rng([self.recipe.seed, step])
        stage = self.recipe.stage_at(step)
        objects = int(shared.choice(list(self.recipe.followed), p=list(self.recipe.followed.values())))
        share = stage.clips // self.processes
        items = []
        for place in range(self.rank * share, (self.rank + 1) * share):
            rng = np.random.default_rng([self.recipe.seed, step, place])
            clip = self._clip(rng, stage, objects)
            corruption = _corrupt(rng, clip.labels, objects, self.recipe)
            items.append({"images": recolour(rng, clip.images), "labels": clip.labels} | corruption)
        batch = {name: np.stack([item[name] for item in items]) for name in items[0]}
        batch["middle"] = np.array([shared.integers(1, t - 1) if t > 2 else 0 for t in range(stage.frames)])
        batch["blind"] = shared.random(stage.frames) < 0.08
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def _clip(self, rng: np.random.Generator, stage: Stage, objects: int) -> Clip:
        """Draw a clip, a few times over until its first frame shows the first object well."""
        recipe = self.recipe
        view = View(stage.frames, stage.crop, recipe.zoom_spread, recipe.zoomed, widest_gap=stage.widest_gap)
        clip = None
        for _ in range(12):
            drawn = draw_clip(rng, self.sources, view, objects)
            if drawn is None:
                continue
            clip = drawn
            if LEAST_SHARE <= clip.area(1) <= 0.8:
                break
        if clip is None:
            raise ValueError("no object large enough to follow in 12 draws; check the masks of the training data")
        return clip


def _corrupt(
    rng: np.random.Generator, labels: UInt8Array, objects: int, recipe: Recipe
) -> dict[str, UInt8Array | np.ndarray]:
    """Errors of expected masks and of masks in memory for one clip [T, S, S]; see `Batch`."""
    frames, size = labels.shape[:2]
    cells = size // 4
    shape = (frames, objects, cells, cells)
    out = {name: np.zeros(shape, dtype=np.uint8) for name in ("propagated", "keep", "leak")}
    out["keep"][:] = 255
    for t in range(1, frames):
        spoil_memory = rng.random() < recipe.spoiled_memory
        for k in range(objects):
            now, before = (_at_stride4(labels[time] == k + 1, cells) for time in (t, t - 1))
            # Motion propagates the previous mask: one of an object that has just left, none of one that returns.
            out["propagated"][t, k] = rough_propagation(rng, now if now.any() and before.any() else before)
            if spoil_memory:
                out["keep"][t, k], out["leak"][t, k] = mask_errors(rng, now)
    kinds = [1 - recipe.wrong_hints, recipe.wrong_hints * 14 / 15, recipe.wrong_hints / 15]
    expected = rng.choice([OWN, PROPAGATED, EMPTY], size=frames, p=kinds).astype(np.uint8)
    shifted = rng.random((frames, 1)) < (0.3 if recipe.wrong_hints else 0)
    shift = np.where(shifted, rng.integers(-6, 7, (frames, 2)), 0).astype(np.int64)
    return {**out, "expected": expected, "shift": shift}


def _at_stride4(mask: NDArray[np.bool_], cells: int) -> UInt8Array:
    """Mask bool [S, S] -> uint8 [S/4, S/4] of 0..255."""
    small = cv2.resize(mask.astype(np.uint8) * 255, (cells, cells), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
