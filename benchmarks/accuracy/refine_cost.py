"""Times refinement of one object that covers a tenth of the picture.

The clip is synthetic: a textured disc moves over a textured ground, 854x480, encoded like all other clips. Its true
masks stand in for propagated masks. Three key frames are memorized, which is the number that a frame is matched with,
and every other frame is refined. The time covers the conversion to RGB, the residual and the network. It does not
cover the warp, which also runs without a refiner.
"""

from __future__ import annotations

from dataclasses import asdict
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Spread
from codec import open_video
from codec.encode import Encoder, encode
from codec.types import CompressedFrame, UInt8Array
from vos.masks.geometry import to_grid
from vos.modeling.refiner import LIGHT_CHANNELS, Refiner
from vos.propagation.propagate import Propagated
from vos.refinement.groups import group_objects
from vos.refinement.mask_refiner import BUDGETS, MATCHED_KEYFRAMES, MaskRefiner
from vos.refinement.region import edge_share
from vos.runtime.thread_pools import one_thread

HEIGHT, WIDTH = 480, 854
SHARE = 0.1
"""Share of the picture that the object covers."""
STEP = 3
"""Motion of the object in pixels per frame."""


def scene(frames: int, height: int = HEIGHT, width: int = WIDTH) -> tuple[list[UInt8Array], list[UInt8Array]]:
    """Draw pictures of a moving disc, uint8 [height, width, 3], and its masks, uint8 [height, width], 0 and 1."""
    rng = np.random.default_rng(0)
    ground, texture = (textured(rng, height, width) for _ in range(2))
    radius = (SHARE * height * width / np.pi) ** 0.5
    y, x = np.mgrid[:height, :width]
    pictures, masks = [], []
    for index in range(frames):
        centre = width / 2 + STEP * (index - frames / 2)
        mask = (y - height / 2) ** 2 + (x - centre) ** 2 <= radius**2
        moved = np.roll(texture, STEP * index, axis=1)
        pictures.append(np.where(mask[..., None], 255 - moved // 2, ground // 2).astype(np.uint8))
        masks.append(mask.astype(np.uint8))
    return pictures, masks


def textured(rng: np.random.Generator, height: int, width: int) -> UInt8Array:
    """Draw random colours in blocks of 8 x 8 pixels."""
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


def milliseconds(refiner: Refiner, frames: int = 16, rounds: int = 4) -> dict[str, Any]:
    """Refine frames of the scene one by one, on all cores and on one core.

    Returns:
        `repair_ms`, `look_ms` and `one_core_ms` are spreads of milliseconds after a first round: of refinements, of
        key frames, and of refinements on one core. `region` is the height and width of the region in pixels,
        `looked_at` the size at which the network sees it, and `threads` torch's number of threads.
    """
    pictures, masks = scene(frames)
    with open_video(encode(iter(pictures), Encoder())) as video:
        coded = sorted(video, key=lambda frame: frame.index)
    soft = [to_grid(torch.from_numpy(mask.astype(np.float32))[None]) for mask in masks]
    refined, memorized = _seconds(refiner, coded, soft, rounds)
    with one_thread():
        one_core, _ = _seconds(refiner, coded, soft, rounds)
    shape = soft[frames // 2]
    (group,) = group_objects(shape, BUDGETS["balanced"].full_resolution_pixels(edge_share(shape)))
    return {
        "repair_ms": asdict(Spread.of(1000 * value for value in refined)),
        "look_ms": asdict(Spread.of(1000 * value for value in memorized)),
        "one_core_ms": asdict(Spread.of(1000 * value for value in one_core)),
        "region": [group.region.height, group.region.width],
        "looked_at": list(group.region.input_size),
        "threads": torch.get_num_threads(),
    }


@torch.inference_mode()
def _seconds(
    refiner: Refiner, coded: list[CompressedFrame], soft: list[torch.Tensor], rounds: int
) -> tuple[list[float], list[float]]:
    """Return the seconds of refinements and of key frames, after a first round."""
    frames, keys = len(coded), key_frames(len(coded))
    memorized: list[float] = []
    refined: list[float] = []
    for turn in range(rounds + 1):
        mask_refiner = MaskRefiner(refiner, budget=BUDGETS["balanced"])
        for key in keys:
            started = perf_counter()
            mask_refiner.add_keyframe(coded[key], soft[key])
            memorized += [perf_counter() - started] if turn else []
        for index in (index for index in range(frames) if index not in keys):
            propagated = as_propagated(soft[index])
            started = perf_counter()
            mask_refiner.refine(coded[index], propagated)
            refined += [perf_counter() - started] if turn else []
    return refined, memorized


def key_frames(frames: int) -> list[int]:
    """Return as many evenly spread frames as a frame is matched with."""
    return [index * (frames - 1) // (MATCHED_KEYFRAMES - 1) for index in range(MATCHED_KEYFRAMES)]


def as_propagated(soft: torch.Tensor) -> Propagated:
    """Wrap masks as propagated masks without uncertainty."""
    light = soft.new_zeros(LIGHT_CHANNELS, *soft.shape[1:])
    return Propagated(soft, light, torch.zeros_like(soft[0]), 1.0)
