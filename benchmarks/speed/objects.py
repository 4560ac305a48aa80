"""Times the refinement of a frame with several objects against one, in CPU time of one thread.

The clips are synthetic, as those of `benchmarks/accuracy/refine_cost.py`: textured discs in rows, 854x480, all moving
to the right. All ratios are of the same frames; only the number of discs that are objects differs. True masks stand in
for propagated masks, and three key frames are memorized before the clock starts. Two discs in opposite corners are
measured as two objects, and as one object of two parts, which has one region around both.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from time import thread_time
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.accuracy.refine_cost import HEIGHT, STEP, WIDTH, as_propagated, key_frames, textured
from benchmarks.harness import Report, Row, interleave, parser, per_frame, ratio
from codec import open_video
from codec.encode import Encoder, encode
from codec.types import CompressedFrame, UInt8Array
from vos.masks.geometry import to_grid
from vos.modeling.refiner import Refiner
from vos.refinement.mask_refiner import BUDGETS, MaskRefiner
from vos.runtime.thread_pools import one_thread
from vos.weights.load import load_refiner


@dataclass(frozen=True)
class Clip:
    """A clip of moving discs, and the number of each pixel's disc, from 1."""

    frames: list[CompressedFrame]
    labels: list[UInt8Array]

    def soft(self, objects: list[list[int]]) -> list[torch.Tensor]:
        """Return the masks of each frame on the stride-4 grid; an object is a list of discs."""
        return [
            to_grid(torch.from_numpy(np.stack([np.isin(labels, discs) for discs in objects]).astype(np.float32)))
            for labels in self.labels
        ]


def discs(rows: int, columns: int, radius: int, frames: int) -> Clip:
    """Draw and encode `rows` x `columns` equal discs, evenly spread over the picture."""
    rng = np.random.default_rng(0)
    ground, texture = (textured(rng, HEIGHT, WIDTH) for _ in range(2))
    pictures, masks = [], []
    for index in range(frames):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        for number in range(rows * columns):
            x = WIDTH * (number % columns + 0.5) / columns + STEP * (index - frames / 2)
            y = HEIGHT * (number // columns + 0.5) / rows
            cv2.circle(labels, (round(x), round(y)), radius, number + 1, -1)
        moved = np.roll(texture, STEP * index, axis=1)
        pictures.append(np.where((labels > 0)[..., None], 255 - moved // 2, ground // 2).astype(np.uint8))
        masks.append(labels)
    with open_video(encode(iter(pictures), Encoder())) as video:
        return Clip(sorted(video, key=lambda frame: frame.index), masks)


@torch.inference_mode()
def refine(refiner: Refiner, clip: Clip, soft: list[torch.Tensor]) -> float:
    """Return the CPU seconds of refining all frames that are no key frames."""
    mask_refiner, keys = MaskRefiner(refiner, BUDGETS["balanced"]), key_frames(len(soft))
    with one_thread():
        for index in keys:
            mask_refiner.add_keyframe(clip.frames[index], soft[index])
        seconds = 0.0
        for frame, masks in zip(clip.frames, soft, strict=True):
            if frame.index not in keys:
                frame.rgb()
                propagated = as_propagated(masks)
                started = thread_time()
                mask_refiner.refine(frame, propagated)
                seconds += thread_time() - started
    return seconds


def main() -> None:
    """Measure and write objects.json."""
    arguments: argparse.Namespace = parser(__doc__).parse_args()
    report = Report("objects", arguments)
    frames, rounds = (6, 2) if arguments.quick else (13, 9)
    refiner = load_refiner()
    ten, fifty = discs(2, 5, 48, frames), discs(5, 10, 20, frames)
    chosen: dict[str, tuple[Clip, list[list[int]]]] = {
        "1 of 10": (ten, [[3]]),
        "10": (ten, [[number] for number in range(1, 11)]),
        "1 of 50": (fifty, [[25]]),
        "50": (fifty, [[number] for number in range(1, 51)]),
        "2 in corners": (fifty, [[1], [50]]),
        "one region around both": (fifty, [[1, 50]]),
    }
    tasks: dict[str, Any] = {
        name: partial(refine, refiner, clip, clip.soft(objects)) for name, (clip, objects) in chosen.items()
    }
    seconds = interleave(tasks, rounds)
    report.details = {"cpu_ms_per_frame": per_frame(seconds, frames - len(key_frames(frames)))}
    report.rows = [
        Row("10 objects over 1 on a refined frame, discs of 96 pixels", ratio(seconds, "10", "1 of 10"), goal="<= 2"),
        Row("50 objects over 1 on a refined frame, discs of 40 pixels", ratio(seconds, "50", "1 of 50")),
        Row(
            "2 objects in opposite corners over one region around both",
            ratio(seconds, "2 in corners", "one region around both"),
        ),
    ]
    report.write()


if __name__ == "__main__":
    main()
