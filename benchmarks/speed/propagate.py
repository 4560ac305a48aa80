"""Times a propagated frame against decoding it, with one and with ten objects.

Every frame after the prompt is propagated, without refinement and with a network that does no work. What remains is
decoding, motion, warping and label masks at display size. The clock covers whole clips, from opening to the last mask.
Ten objects are measured twice: as ten discs of one disc's size, and as one object cut into ten.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.harness import Report, Row, Spread, clip, first_labels, interleave, parser, per_frame, ratio
from benchmarks.speed.decode import plain
from benchmarks.speed.stub_networks import IdleNetwork
from codec import open_video
from codec.types import UInt8Array
from vos.segmenter import Segmenter
from vos.types import Options, Prompt

SEQUENCES = ("kite-walk", "car-turn", "soccerball")
_NEVER = "every:1000000"


def propagate(clips: list[tuple[Path, UInt8Array]]) -> None:
    """Propagate a prompt through clips."""
    segmenter = Segmenter(IdleNetwork(), Options(keyframes=_NEVER))
    for file, labels in clips:
        with open_video(file) as video:
            for _ in segmenter.run(video, video.info, Prompt(labels)):
                pass


def discs(size: tuple[int, int], count: int) -> UInt8Array:
    """Draw up to ten equal discs in two rows, or one in the middle, on a picture of size (height, width)."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    radius = height / 10
    centres = [(height * row / 3, width * column / 6) for row in (1, 2) for column in range(1, 6)]
    labels = np.zeros((height, width), np.uint8)
    for number, (row, column) in enumerate(centres[:count] if count > 1 else [(height / 2, width / 2)], start=1):
        labels[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = number
    return labels


def cut(labels: UInt8Array, pieces: int) -> UInt8Array:
    """Cut object 1 into vertical strips of equal area."""
    rows, columns = np.nonzero(labels == 1)
    rank = np.empty(len(columns), np.int64)
    rank[np.argsort(columns, kind="stable")] = np.arange(len(columns))
    parts = np.zeros_like(labels)
    parts[rows, columns] = 1 + rank * pieces // len(columns)
    return parts


def area_kept(file: Path, labels: UInt8Array) -> float:
    """Return the mean labelled area relative to the prompt's; cost follows area, so it must not shrink."""
    with open_video(file) as video:
        masks = Segmenter(IdleNetwork(), Options(keyframes=_NEVER)).run(video, video.info, Prompt(labels))
        areas = [np.count_nonzero(mask.labels) for mask in masks]
    return float(np.mean(areas) / areas[0])


def main() -> None:
    """Measure and write propagate.json."""
    arguments: argparse.Namespace = parser(__doc__).parse_args()
    report = Report("propagate", arguments)
    length, rounds = (10, 2) if arguments.quick else (48, 15)
    files = [clip(arguments, name, length) for name in SEQUENCES]
    truth = [first_labels(arguments, name) for name in SEQUENCES]
    prompts: dict[str, list[UInt8Array]] = {
        "1 object": truth,
        "the object cut in 10": [cut(labels, 10) for labels in truth],
        "1 disc": [discs(labels.shape, 1) for labels in truth],
        "10 discs": [discs(labels.shape, 10) for labels in truth],
    }
    tasks: dict[str, Any] = {"plain": partial(plain, files)}
    for name, labels in prompts.items():
        tasks[name] = partial(propagate, list(zip(files, labels, strict=True)))
    seconds = interleave(tasks, rounds)
    frames = sum(_frames(file) for file in files)
    report.details = {
        "sequences": SEQUENCES,
        "frames": frames,
        "ms_per_frame": per_frame(seconds, frames),
        "prompt_area_share": {n: [round(float((m > 0).mean()), 4) for m in masks] for n, masks in prompts.items()},
        "area_kept": {
            name: round(area_kept(file, labels), 3) for name, file, labels in zip(SEQUENCES, files, truth, strict=True)
        },
    }
    report.rows = [
        Row("A propagated frame over plain decoding", ratio(seconds, "1 object", "plain"), goal="<= 2"),
        Row(
            "10 objects over 1 on a propagated frame, equal discs",
            ratio(seconds, "10 discs", "1 disc"),
            goal="<= 1.5",
        ),
        Row(
            "10 objects over 1 on a propagated frame, one object cut into ten",
            ratio(seconds, "the object cut in 10", "1 object"),
        ),
        Row("Propagated frames", Spread.of((frames / value for value in seconds["1 object"]), 1), "frames/s"),
    ]
    report.write()


def _frames(file: Path) -> int:
    with av.open(file) as container:
        return sum(1 for _ in container.decode(video=0))


if __name__ == "__main__":
    main()
