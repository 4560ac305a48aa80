"""Times a correction in the middle of a clip against a whole run, with the default networks.

The clip shows the bundled sample forwards and backwards in turn. The stored masks lose the object a little before the
corrected frame and do not find it again, so the correction is computed up to the end of the clip.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib.resources import as_file, files
from itertools import chain, cycle, islice
from time import perf_counter, process_time

import av
import numpy as np
from PIL import Image

from benchmarks.harness import Report, Row, interleave, parser, ratio
from codec.encode import Encoder, encode
from codec.types import UInt8Array
from service.run.directions.resegment import resegment
from service.run.options import RunOptions
from service.run.segment import segment
from vos.types import FrameMask

LOST_BEFORE = 10
"""Frames before the corrected one in which the stored masks have lost the object already."""


class Stored:
    """Masks of a run that loses all objects at a frame."""

    def __init__(self, masks: list[FrameMask], lost: int) -> None:
        self._masks = masks
        self._lost = lost

    def mask(self, index: int) -> FrameMask | None:
        """Return the mask of a frame; None beyond the last one."""
        if index >= len(self._masks):
            return None
        mask = self._masks[index]
        return mask if index < self._lost else replace(mask, labels=mask.labels * np.uint8(0), scores={})


def sample(frames: int) -> tuple[bytes, UInt8Array]:
    """Return a clip of so many frames, and the mask of its first one."""
    with as_file(files("service") / "sample") as folder:
        with av.open(str(folder / "clip.mp4")) as source:
            pictures = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in source.decode(video=0)]
        with Image.open(folder / "mask.png") as picture:
            mask = np.array(picture)
    return encode(islice(cycle(chain(pictures, pictures[-2:0:-1])), frames), Encoder("libx264")), mask


def main() -> None:
    """Measure and write correction.json."""
    arguments: argparse.Namespace = parser(__doc__).parse_args()
    report = Report("correction", arguments)
    frames, rounds = (40, 1) if arguments.quick else (300, 3)
    video, mask = sample(frames)
    options, middle = RunOptions(max_side=256 if arguments.quick else None), frames // 2
    masks: list[FrameMask] = []
    changed: list[int] = []
    work: dict[str, object] = {}
    cpu_seconds: dict[str, list[float]] = {"run": [], "correction": []}

    def run() -> float:
        started, cpu = perf_counter(), process_time()
        with segment(video, mask, options) as whole:
            masks[:] = list(whole)
            work["run_stage_seconds"] = whole.stats.seconds
        cpu_seconds["run"].append(round(process_time() - cpu, 3))
        return perf_counter() - started

    def correct() -> float:
        stored, fix = Stored(masks, middle - LOST_BEFORE), masks[middle].labels
        started, cpu = perf_counter(), process_time()
        with resegment(video, stored, {0: mask}, {middle: fix}, options) as correction:
            changed[:] = [frame.index for frame in correction]
            work.update(frames_read=correction.steps[0], stage_seconds=correction.stats.seconds)
        cpu_seconds["correction"].append(round(process_time() - cpu, 3))
        return perf_counter() - started

    seconds = interleave({"run": run, "correction": correct}, rounds)
    report.details = {"frames": frames, "corrected": middle, "changed": [changed[0], changed[-1] + 1]}
    report.details |= work | {"seconds": seconds, "cpu_seconds": cpu_seconds}
    question = f"correcting the middle of {frames} frames over a whole run"
    note = f"masks lost from {LOST_BEFORE} frames before on, so frames {changed[0]} to {changed[-1]} change"
    report.rows = [Row(question, ratio(seconds, "correction", "run"), goal="<= 0.6", note=note)]
    report.write()


if __name__ == "__main__":
    main()
