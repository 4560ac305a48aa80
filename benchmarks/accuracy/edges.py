"""What edges at the video's own resolution win: the same run with `edges` refined and raw, judged at full size.

`python -m benchmarks.accuracy.edges --data DAVIS_ROOT --sides 480,240,160 --frames 40`

Sequences are analyzed at several heights and judged at their own, with a boundary tolerance of 4 pixels at 480 lines.
The cost is that of refined over raw labels of a mask enlarged to 1080p, the least of 30 calls.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from PIL import Image

from codec import open_video
from codec.encode import Encoder, encode
from codec.types import STRIDE, CompressedFrame, PicturePlanes, VideoInfo
from vos.evaluation.davis import Sequence, find_sequences
from vos.evaluation.evaluate import read_picture
from vos.evaluation.metrics import BoolArray, Score, boundary_accuracy, region_similarity
from vos.masks.edges import refined_labels
from vos.masks.geometry import prompt_to_soft, soft_to_labels
from vos.segmenter import Segmenter
from vos.types import EDGES, Options, Prompt
from vos.weights.load import load_network, load_refiner

TOLERANCE_AT_480 = 4


def scores(sequence: Sequence, clip: bytes, side: int, edges: str) -> Score:
    """Mean J and F of a run that analyzes the sequence at this height, over annotated frames after the first."""
    segmenter = Segmenter(load_network("compact", device="cpu"), Options(edges=edges), load_refiner(device="cpu"))
    found = []
    with open_video(clip, short_side=side) as video:
        for mask in segmenter.run(video, video.info, Prompt(sequence.labels(0))):
            if mask.index and mask.index in sequence.annotations:
                truth = sequence.labels(mask.index)
                found += [score(mask.labels == i, truth == i) for i in sequence.object_ids]
    return Score.mean(found)


def score(mask: BoolArray, truth: BoolArray) -> Score:
    """J, and F at a tolerance of 4 pixels at 480 lines."""
    height, width = truth.shape
    tolerance = TOLERANCE_AT_480 * min(height, width) / 480 / math.hypot(height, width)
    return Score(region_similarity(mask, truth), boundary_accuracy(mask, truth, tolerance))


def crops(sequence: Sequence, clip: bytes, side: int, index: int) -> Image.Image:
    """Outlines of the raw and the refined mask of a frame, side by side, cut to the object."""
    truth = sequence.labels(index) > 0
    rows, columns = (np.flatnonzero(truth.any(axis)) for axis in (1, 0))
    part = np.s_[max(0, rows[0] - 20) : rows[-1] + 20, max(0, columns[0] - 20) : columns[-1] + 20]
    views = []
    for edges in ("raw", "refined"):
        segmenter = Segmenter(
            load_network("compact", device="cpu"), Options(edges=edges, end=index + 1), load_refiner(device="cpu")
        )
        with open_video(clip, short_side=side) as video:
            *_, mask = segmenter.run(video, video.info, Prompt(sequence.labels(0)))
        picture = np.ascontiguousarray(read_picture(sequence.pictures[index])[part])
        outlines, _ = cv2.findContours((mask.labels[part] > 0).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, (255, 230, 0), 1)
        views.append(cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))
    return Image.fromarray(np.hstack(views))


def report(name: str, raw: list[Score], refined: list[Score]) -> str:
    """One line: means, and the mean gain with its standard error and least value."""
    parts = [f"{name:14}"]
    for letter in "jf":
        before, after = (np.array([100 * getattr(score, letter) for score in each]) for each in (raw, refined))
        gain = after - before
        error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else float("nan")
        parts.append(
            f"{letter.upper()} {before.mean():.1f} -> {after.mean():.1f} ({gain.mean():+.2f} ± {error:.2f}, "
            f"least {gain.min():+.2f})"
        )
    return "  ".join(parts)


def cost(clip: bytes, sequence: Sequence) -> str:
    """Milliseconds of raw and refined labels of the first frame's mask, enlarged to 1080 lines."""
    with open_video(clip) as video:
        frame: CompressedFrame = next(iter(video))
        info: VideoInfo = video.info
    assert frame.to_planes is not None
    planes = frame.to_planes()
    factor = 1080 / info.coded_height
    width = round(info.coded_width * factor / 2) * 2
    large = replace(info, coded_width=width, coded_height=1080)
    soft = prompt_to_soft(sequence.labels(0), (1,), info)
    grid = cv2.resize(soft[0], None, fx=1 / STRIDE, fy=1 / STRIDE, interpolation=cv2.INTER_AREA)[None]
    sizes = (width, 1080), (width // 2, 540), (width // 2, 540)
    y, u, v = (
        np.asarray(cv2.resize(plane, size), np.uint8)
        for plane, size in zip((planes.y, planes.u, planes.v), sizes, strict=True)
    )
    enlarged = PicturePlanes(y, u, v)
    raw = least(lambda: soft_to_labels(grid, STRIDE, (1,), large))
    refined = least(lambda: refined_labels(grid, frame.luma, enlarged, (1,), large))
    share = np.count_nonzero(sequence.labels(0)) / sequence.labels(0).size
    return f"{sequence.name}: object of {share:.1%}, {width}x1080: raw {raw:.2f} ms, refined {refined:.2f} ms"


def least(call: Callable[[], object], repeats: int = 30) -> float:
    """Least time of a call in milliseconds."""
    times = []
    for _ in range(repeats):
        began = perf_counter()
        call()
        times.append(perf_counter() - began)
    return 1000 * min(times)


def main() -> None:
    """Print a line per sequence and height, and the cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sides", default="480,240,160")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--image", type=Path, help="Only write crops of one frame of --sequence to this file.")
    parser.add_argument("--sequence", default="kite-walk")
    arguments = parser.parse_args()
    if arguments.image is not None:
        (sequence,) = find_sequences(arguments.data, [arguments.sequence])
        clip = encode(map(read_picture, sequence.pictures[: arguments.frames]), Encoder())
        crops(sequence, clip, int(arguments.sides.split(",")[0]), arguments.frames - 1).save(arguments.image)
        return
    for side in map(int, arguments.sides.split(",")):
        results: dict[str, list[Score]] = {edges: [] for edges in EDGES}
        for sequence in find_sequences(arguments.data):
            clip = encode(map(read_picture, sequence.pictures[: arguments.frames]), Encoder())
            for edges in EDGES:
                results[edges].append(scores(sequence, clip, side, edges))
            print(report(f"{sequence.name} {side}", results["raw"][-1:], results["refined"][-1:]), flush=True)
        print(report(f"all {side}", results["raw"], results["refined"]), flush=True)
    for sequence in find_sequences(arguments.data):
        print(cost(encode(map(read_picture, sequence.pictures[:1]), Encoder()), sequence))


if __name__ == "__main__":
    main()
