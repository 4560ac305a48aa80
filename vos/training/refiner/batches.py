"""Coded clips as tensors for the refiner's training, made by loader processes.

Sampling positions are those of propagation (`vos.propagation.warp`), but for every cell of the picture: loaders do not
know yet where the objects will be.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from codec.types import STRIDE, CompressedFrame, Float32Array, UInt8Array
from vos.modeling.refiner import STRIDE as COARSEST
from vos.propagation.uncertainty import RESIDUAL_SCALE, hop_uncertainty, mean_absolute
from vos.propagation.warp import fill_missing, sampling
from vos.refinement.region import shrink_picture
from vos.training.data.coded_clips import CodedClip, CodedRecipe, coded_clips
from vos.training.data.datasets import TrainingData
from vos.training.data.mask_corruption import mask_errors

Sample = dict[str, Tensor]
"""One clip of T frames in decode order, H x W pixels, h x w = H/4 x W/4 cells, K objects.

| tensor | type | content |
| --- | --- | --- |
| rgb | uint8 [T, H, W, 3] | pictures, downscaled if the network sees large regions downscaled |
| labels | uint8 [T, H, W] | truth |
| index | int64 [T] | presentation index |
| corners | int64 [T, h*w, 8] | source cells of each cell, as indices into [T, h*w] |
| weights | float32 [T, h*w, 8] | weights of the source cells |
| bitstream | float32 [T, 3, h, w] | uncertainty of this hop, residual / 64, whether there is no vector |
| given | uint8 [T, K, h, w] | masks as from a base network |
| key | bool [T] | key frames |
"""
SIZE = (352, 352)
"""Height and width of the clips: about the region around an object that covers a tenth of a 480p picture."""
INPUT_SCALES = {1.0: 0.4, 0.82: 0.25, 0.68: 0.2, 0.59: 0.15}
"""Scale at which the network sees a clip -> share of batches; at inference, large regions are downscaled too."""
ONE_OBJECT = 0.67
"""Share of batches that follow one object; all other batches follow two."""


def sample(clip: CodedClip, frames: int, objects: int, rng: np.random.Generator, scale: float = 1.0) -> Sample:
    """Convert the first frames of a clip in decode order, with random key frames and masks.

    Objects beyond those of the clip are empty. Pictures are scaled by `scale`.
    """
    chosen = clip.frames[:frames]
    labels = np.stack([clip.labels[frame.index] for frame in chosen])
    corners, weights, lost = zip(*(_sampling(frame, frames) for frame in chosen), strict=True)
    arrays = {
        "rgb": np.stack([_downscale(frame.rgb(), scale) for frame in chosen]),
        "labels": np.where(labels <= objects, labels, 0).astype(np.uint8),
        "index": np.array([frame.index for frame in chosen], np.int64),
        "corners": np.stack(corners),
        "weights": np.stack(weights),
        "bitstream": np.stack([bitstream_features(frame) for frame in chosen]),
        "given": np.stack([_given(label, objects, t, rng) for t, label in enumerate(labels)]),
        "key": _keys(chosen, np.array(lost), rng),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def bitstream_features(frame: CompressedFrame) -> Float32Array:
    """Bitstream features per cell, float32 [3, rows, columns]; see `Sample`."""
    residual = mean_absolute(frame.residual) / RESIDUAL_SCALE
    return np.stack([hop_uncertainty(frame), residual, ~frame.motion.covered]).astype(np.float32)


def collate(samples: list[Sample]) -> Sample:
    """Stack clips of one size and length; corners then index into all of them."""
    batch = {name: torch.stack([one[name] for one in samples]) for name in samples[0]}
    clips, frames, cells, _ = batch["corners"].shape
    batch["corners"] += (torch.arange(clips) * frames * cells).view(-1, 1, 1, 1)
    return batch


def _downscale(picture: UInt8Array, scale: float) -> UInt8Array:
    if scale == 1:
        return picture
    height, width = (round(side * scale / COARSEST) * COARSEST for side in picture.shape[:2])
    return shrink_picture(picture, width, height)


def _sampling(frame: CompressedFrame, frames: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Corners and weights of every cell, and whether the frame has no prediction at all."""
    slots = frame.motion.reference
    rows, columns = frame.motion.shape
    if not (slots >= 0).any():
        return np.zeros((rows * columns, 8), np.int64), np.zeros((rows * columns, 8), np.float32), True
    vectors = frame.motion.vectors
    if (slots < 0).all(axis=0).any():
        vectors, slots = fill_missing(vectors, slots)
    everywhere = np.ones((frames, rows, columns), np.bool_)
    _, corners, weights = sampling(vectors, slots, everywhere)
    return corners, weights, False


def _given(label: UInt8Array, objects: int, t: int, rng: np.random.Generator) -> UInt8Array:
    """Masks [K, h, w] as from a base network: mostly right, sometimes with lost or leaked parts."""
    height, width = label.shape[0] // STRIDE, label.shape[1] // STRIDE
    masks = np.zeros((objects, height, width), np.uint8)
    for k in range(objects):
        mask = (label == k + 1).astype(np.uint8) * 255
        if t and rng.random() < 0.5:
            mask = _jitter(mask, rng)
        small = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        if t and rng.random() < 0.3:
            keep, leak = mask_errors(rng, small)
            small = np.maximum(np.minimum(small, keep), leak)
        masks[k] = small
    return masks


def _jitter(mask: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Displace the edge of a mask by some pixels, smoothly along the edge."""
    height, width = mask.shape
    coarse = rng.normal(0, rng.uniform(0.5, 3.0), (2, max(2, height // 24), max(2, width // 24))).astype(np.float32)
    off = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    x = np.arange(width, dtype=np.float32)[None, :] + off[0]
    y = np.arange(height, dtype=np.float32)[:, None] + off[1]
    return np.asarray(cv2.remap(mask, x, y, cv2.INTER_LINEAR), np.uint8)


def _keys(frames: tuple[CompressedFrame, ...], lost: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw key frames: the first, frames without prediction, and some reference frames."""
    share = rng.uniform(0.0, 0.4)
    references = np.array([frame.is_reference for frame in frames])
    keys = lost | (references & (rng.random(len(frames)) < share))
    keys[0] = True
    return keys


class RefinerBatches(Dataset[Sample]):
    """Item `step` is the batch of training step `step`, a function of seed and step alone."""

    def __init__(self, data: TrainingData, seed: int, clips: int, frames: int, steps: int) -> None:
        self._data = data
        self._seed = seed
        self._clips = clips
        self._frames = frames
        self._steps = steps
        self._drawn = CodedRecipe(frames=(frames, frames + 2), sizes=(SIZE,))

    def check(self) -> None:
        """Draw a clip, so that an error about the data is raised here and not in a loader process.

        Raises:
            TrainingDataError: The data yields no clip.
        """
        next(coded_clips(self._data, self._seed, self._drawn))

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Sample:
        rng = np.random.default_rng([self._seed, step])
        objects = 1 if rng.random() < ONE_OBJECT else 2
        scale = float(rng.choice(list(INPUT_SCALES), p=list(INPUT_SCALES.values())))
        clips = coded_clips(self._data, self._seed, self._drawn, first=step * self._clips)
        return collate([sample(next(clips), self._frames, objects, rng, scale) for _ in range(self._clips)])
